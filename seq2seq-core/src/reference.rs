//! The definition of every operation, in plain loops: the oracle of the conformance suite.
