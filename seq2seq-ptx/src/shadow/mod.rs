//! Shadow memory: what is known of every byte besides its value.

pub(crate) mod bits;
pub(crate) mod chain;
pub(crate) mod clock;
pub(crate) mod proxy;
pub(crate) mod races;
pub(crate) mod region;
pub(crate) mod release;

pub(crate) use chain::Chain;
pub(crate) use clock::{Clocks, ThreadClock};
pub(crate) use races::{Races, Who};
pub(crate) use region::Region;
