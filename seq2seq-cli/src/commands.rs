//! What the commands do.

mod bench;
mod convert;
mod devices;
mod forward;
mod generate;
mod inspect;
mod latent;
mod progress;
mod score;
mod tasks;
mod tokenizer;
mod trace;
mod train;

use crate::{
    cli::{Cli, Command, TokenizerCommand},
    failure::Result,
};

/// Does what the arguments ask for.
pub(crate) fn run(cli: Cli) -> Result<()> {
    let global = cli.global;
    match cli.command {
        Command::Generate(args) => generate::run(&global, *args),
        Command::Sample(args) => latent::sample(&global, &args),
        Command::Interpolate(args) => latent::interpolate(&global, &args),
        Command::Forward(args) => forward::run(&global, &args),
        Command::Trace(args) => trace::run(&global, *args),
        Command::Embed(args) => tasks::embed(&global, args),
        Command::Classify(args) => tasks::classify(&global, args),
        Command::Tag(args) => tasks::tag(&global, args),
        Command::Answer(args) => tasks::answer(&global, args),
        Command::FillMask(args) => tasks::fill_mask(&global, args),
        Command::Inspect(args) => inspect::run(&global, &args),
        Command::Convert(args) => convert::run(&global, &args),
        Command::Tokenizer(TokenizerCommand::Train(args)) => tokenizer::train(&args),
        Command::Train(args) => train::run(&global, &args),
        Command::Score(args) => score::run(&args),
        Command::Bench(args) => bench::run(&global, &args),
        Command::Devices(args) => devices::run(&args),
    }
}
