//! What drivers in Rust share: their questions, how a scenario fails, and the run of those that the
//! command line names. Nothing of any client is known here.

use std::future::Future;
use std::pin::Pin;

pub const QUESTION: &str = "What grows in the orchard behind the harbour? Answer in two sentences.";
pub const WEATHER_QUESTION: &str = "What is the weather in Lisbon? Use the tool get_weather.";
pub const PERSON_QUESTION: &str = "Describe a keeper of a lighthouse named Ada.";
pub const HELD_QUESTION: &str = "[hold] What grows in the orchard behind the harbour?";
pub const BROKEN_QUESTION: &str = "[break] What grows in the orchard behind the harbour?";
pub const MISSING_MODEL: &str = "nobody/has-this-model:7b";
/// One grey pixel.
pub const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";

pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Outcome = Result<(), Failure>;
/// One scenario of a driver, whose places hold a client and the names of two models.
pub type Scenario<P> = fn(P) -> Pin<Box<dyn Future<Output = Outcome>>>;

pub fn check(holds: bool, what: impl std::fmt::Debug) -> Outcome {
    if holds { Ok(()) } else { Err(format!("not so: {what:?}").into()) }
}

/// Lists scenarios with their names, which are those of their functions.
#[macro_export]
macro_rules! scenarios {
    ($($name:ident)*) => { &[$((stringify!($name), |place| Box::pin($name(place)))),*] };
}

/// Runs what the command line says, `URL CHAT EMBEDDING [NAME...]`, and ends the process: with 0
/// when all of it held, with 1 when not, and with 2 when the command line is wrong.
pub async fn main<P: Clone>(
    scenarios: &[(&str, Scenario<P>)],
    connect: impl Fn(&str, &str, &str) -> Option<P>,
) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, chat, embedding, names @ ..] = arguments.as_slice() else {
        eprintln!("usage: driver URL CHAT EMBEDDING [NAME...]");
        std::process::exit(2);
    };
    let Some(place) = connect(url, chat, embedding) else {
        eprintln!("no URL: {url}");
        std::process::exit(2);
    };
    let known = |name: &String| scenarios.iter().any(|(one, _)| one == name);
    if let Some(name) = names.iter().find(|name| !known(name)) {
        eprintln!("no scenario {name}");
        std::process::exit(2);
    }
    let mut held = true;
    for (name, scenario) in scenarios {
        if names.is_empty() || names.iter().any(|one| one == name) {
            let failure = scenario(place.clone()).await.err();
            let detail = failure.as_ref().map(ToString::to_string).unwrap_or_default();
            held &= failure.is_none();
            println!("{}", serde_json::json!({"name": name, "ok": failure.is_none(), "detail": detail}));
        }
    }
    std::process::exit(if held { 0 } else { 1 });
}
