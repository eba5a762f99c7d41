//! A service in small: tasks of Tokio share one model; a request ends when its answer is no longer wanted.
//! `service FOLDER TEXT...`
//!
//! The model computes on threads of its own, so a request holds one of Tokio's threads for blocking work.

use embedding::Text;
use seq2seq_models::generate::Sink;
use seq2seq_models::{LoadOptions, Model, Result};
use std::{error::Error, ops::ControlFlow, time::Duration};
use tokio::sync::oneshot;

/// Stops a generation before its next step once nobody waits for it.
struct WhileWanted<'a>(&'a oneshot::Sender<Result<String>>);

impl Sink for WhileWanted<'_> {
    fn step(&mut self) -> ControlFlow<()> {
        match self.0.is_closed() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// The answer to one request. Dropping the future stops the work.
async fn answer(
    text: Text,
    input: String,
) -> std::result::Result<String, Box<dyn Error + Send + Sync>> {
    let (answer, wait) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let written = text.write(&input, &mut WhileWanted(&answer));
        // Fails where nobody waits any longer.
        let _ = answer.send(written);
    });
    Ok(wait.await??)
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: service FOLDER TEXT...")?;
    let text = Text::new(Model::load(folder, &LoadOptions::default())?)?;
    let requests: Vec<_> = arguments
        .map(|input| {
            let answered = tokio::spawn(answer(text.clone(), input.clone()));
            (input, answered)
        })
        .collect();
    for (input, answered) in requests {
        println!("{input} -> {}", answered.await??);
    }
    // One that is given up at once.
    let hurried = answer(text, "speak: 1234567".into());
    match tokio::time::timeout(Duration::ZERO, hurried).await {
        Ok(written) => println!("in time: {}", written?),
        Err(_) => println!("given up"),
    }
    Ok(())
}
