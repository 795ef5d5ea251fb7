//! A process that works with an embedded store and says what was acknowledged, to be killed,
//! starved or shut out by a test.
//!
//! ```text
//! store_writer DIRECTORY steps START...  steps of as many tasks as there are numbers, without end
//! store_writer DIRECTORY hold            opens, says `open`, waits for the end of standard input
//! store_writer DIRECTORY fill            writes until that fails, then until it works again
//! ```
//!
//! Each line of standard output is written once what it says has been acknowledged.

use std::{
    io::{self, Read, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use portcullis_store::{Condition, Embedded, Engine, Health, Lifetime, StoreError};
use portcullis_tests::store_steps::Step;
use tokio::task::JoinSet;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    match runtime.block_on(run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[String]) -> Result<(), StoreError> {
    let [directory, what, starts @ ..] = arguments else {
        panic!("store_writer DIRECTORY steps|hold|fill");
    };
    let engine = Engine::Embedded(Embedded::open(Path::new(directory))?);
    say("open");
    match what.as_str() {
        "steps" => steps(engine, starts).await,
        "hold" => {
            // Its end is what is waited for.
            let _ = tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await;
            engine.close().await
        }
        "fill" => fill(&engine).await,
        other => panic!("{other} is nothing this does"),
    }
}

async fn steps(engine: Engine, starts: &[String]) -> Result<(), StoreError> {
    let engine = Arc::new(engine);
    let mut tasks = JoinSet::new();
    for (task, start) in starts.iter().enumerate() {
        let start: u64 = start.parse().expect("a number of steps");
        let engine = engine.clone();
        tasks.spawn(async move {
            for number in start.. {
                Step::of(task, number).take(&engine).await?;
                say(&format!("{task} {number}"));
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a task ends by failing")?;
    }
    Ok(())
}

/// Values that are not found compressed away, a counter beside them.
async fn fill(engine: &Engine) -> Result<(), StoreError> {
    let value = vec![0x5a; 32 << 10];
    let mut failed = false;
    for number in 0_u32.. {
        let key = format!("fill-{number}");
        let value = value.clone().into();
        match engine
            .set(&key, value, Lifetime::Forever, Condition::Always)
            .await
        {
            Ok(_) => {
                say(&key);
                if failed {
                    break;
                }
            }
            Err(error) if failed => {
                // Told again and again until there is room.
                drop(error);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(error) => {
                failed = true;
                say(&format!("failed {error}"));
                let first = engine.get("fill-0").await?;
                say(&format!("read {}", first.map_or(0, |value| value.len())));
                say(&format!("kept {}", engine.exists(&key).await?));
                say(&format!(
                    "counted {}",
                    engine.count("fill-n", 7, None).await?.value
                ));
                if let Health::Down { reason } = &*engine.health().borrow() {
                    say(&format!("down {reason}"));
                }
            }
        }
    }
    let up = *engine.health().borrow() == Health::Up;
    say(&format!("up {up}"));
    engine.close().await
}

/// Whole lines, at once.
fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    // Who reads may be gone; then there is nobody to tell.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
