use crate::{
    cli::{Global, InspectArgs},
    failure::Result,
    load,
};

pub(super) fn run(global: &Global, args: &InspectArgs) -> Result<()> {
    let _ = (load::model(global)?, args);
    Ok(())
}
