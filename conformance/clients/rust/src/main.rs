//! Drives ollama-rs: `driver URL CHAT EMBEDDING [NAME...]`.
//!
//! It decodes every answer into strict types, and takes a stream's counts only when all six are
//! there. It prints one JSON line per scenario, with `name`, `ok` and `detail`, as the drivers in
//! Python do.

use ollama_rs::Ollama;
use ollama_rs::coordinator::Coordinator;
use ollama_rs::generation::chat::request::ChatMessageRequest;
use ollama_rs::generation::chat::{ChatMessage, ChatMessageResponse};
use ollama_rs::generation::completion::request::GenerationRequest;
use ollama_rs::generation::embeddings::request::GenerateEmbeddingsRequest;
use ollama_rs::generation::images::Image;
use ollama_rs::generation::parameters::{FormatType, JsonStructure, KeepAlive, ThinkType, TimeUnit};
use ollama_rs::generation::tools::{Tool, ToolCall};
use ollama_rs::models::ModelOptions;
use ollama_rs::models::create::CreateModelRequest;
use scenarios::{
    BROKEN_QUESTION, Failure, HELD_QUESTION, MISSING_MODEL, Outcome, PERSON_QUESTION, PNG, QUESTION, Scenario,
    WEATHER_QUESTION, check,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_stream::StreamExt;

#[derive(Clone)]
struct Place {
    client: Ollama,
    chat: String,
    embedding: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Person {
    name: String,
    age: i64,
    friends: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
struct City {
    #[schemars(description = "Name of the city")]
    city: String,
}

struct Weather;

impl Tool for Weather {
    type Params = City;

    fn name() -> &'static str {
        "get_weather"
    }

    fn description() -> &'static str {
        "The weather in a city."
    }

    async fn call(&mut self, asked: City) -> Result<String, Failure> {
        Ok(format!("{}: 17", asked.city))
    }
}

fn ask(place: &Place, question: &str) -> ChatMessageRequest {
    ChatMessageRequest::new(place.chat.clone(), vec![ChatMessage::user(question.to_owned())])
}

async fn read(place: &Place, request: ChatMessageRequest) -> Result<Vec<ChatMessageResponse>, Failure> {
    let mut stream = place.client.send_chat_messages_stream(request).await?;
    let mut frames = Vec::new();
    while let Some(frame) = stream.next().await {
        frames.push(frame.map_err(|()| "the stream broke off")?);
    }
    let (last, rest) = frames.split_last().ok_or("no frames")?;
    check(last.done && rest.iter().all(|frame| !frame.done), "only the last frame is done")?;
    check(last.final_data.as_ref().is_some_and(|data| data.eval_count > 0), last)?;
    check(rest.iter().all(|frame| frame.final_data.is_none()), "counts before the end")?;
    Ok(frames)
}

fn text_of(frames: &[ChatMessageResponse]) -> String {
    frames.iter().map(|frame| frame.message.content.as_str()).collect()
}

/// Each model has a name, a size and a time.
async fn list(place: Place) -> Outcome {
    let models = place.client.list_local_models().await?;
    let wanted = format!("{}:latest", place.chat);
    check(models.iter().any(|model| model.name == wanted), &models)?;
    check(models.iter().all(|model| model.size > 0 && !model.modified_at.is_empty()), &models)
}

/// The model says what it can.
async fn show(place: Place) -> Outcome {
    let model = place.client.show_model_info(place.chat).await?;
    check(model.capabilities.iter().any(|one| one == "tools"), &model.capabilities)?;
    check(model.model_info.keys().any(|key| key.ends_with(".context_length")), &model.model_info)
}

/// A chat answers in one piece, with its counts.
async fn chat(place: Place) -> Outcome {
    let answer = place.client.send_chat_messages(ask(&place, QUESTION)).await?;
    check(answer.done && !answer.message.content.is_empty(), &answer)?;
    check(answer.final_data.as_ref().is_some_and(|data| data.prompt_eval_count > 0), &answer)
}

/// A chat answers in frames.
async fn chat_stream(place: Place) -> Outcome {
    let frames = read(&place, ask(&place, QUESTION)).await?;
    check(frames.len() > 2 && !text_of(&frames).is_empty(), &frames)
}

/// Options and a time to stay loaded are taken, and num_predict cuts.
async fn chat_options(place: Place) -> Outcome {
    let options = ModelOptions::default().temperature(0.0).top_k(40).seed(7).num_predict(4);
    let stay = KeepAlive::Until { time: 5, unit: TimeUnit::Minutes };
    let request = ask(&place, QUESTION).options(options).keep_alive(stay).think(false);
    let answer = place.client.send_chat_messages(request).await?;
    check(answer.final_data.as_ref().is_some_and(|data| data.eval_count <= 4), &answer)
}

fn check_call(calls: &[ToolCall]) -> Outcome {
    check(calls.len() == 1 && calls[0].function.name == "get_weather", calls)?;
    serde_json::from_value::<City>(calls[0].function.arguments.clone())?;
    Ok(())
}

/// A tool is called with what its schema wants.
async fn tools(place: Place) -> Outcome {
    let request = ask(&place, WEATHER_QUESTION).add_tool(Weather);
    check_call(&place.client.send_chat_messages(request).await?.message.tool_calls)
}

/// A streamed call is whole.
async fn tools_stream(place: Place) -> Outcome {
    let frames = read(&place, ask(&place, WEATHER_QUESTION).add_tool(Weather)).await?;
    let calls = frames.into_iter().flat_map(|frame| frame.message.tool_calls);
    check_call(&calls.collect::<Vec<_>>())
}

/// The coordinator calls the tool and has its result answered in words.
async fn tools_roundtrip(place: Place) -> Outcome {
    let history: Vec<ChatMessage> = Vec::new();
    let mut coordinator = Coordinator::new(place.client, place.chat, history).add_tool(Weather);
    let question = vec![ChatMessage::user(WEATHER_QUESTION.to_owned())];
    let answer = coordinator.chat(question).await?;
    check(!answer.message.content.is_empty() && answer.message.tool_calls.is_empty(), &answer)
}

/// With a schema the text is an instance of it.
async fn format_schema(place: Place) -> Outcome {
    let format = FormatType::StructuredJson(Box::new(JsonStructure::new::<Person>()));
    let request = ask(&place, PERSON_QUESTION).format(format);
    let answer = place.client.send_chat_messages(request).await?;
    serde_json::from_str::<Person>(&answer.message.content)?;
    Ok(())
}

/// With format json the text is JSON.
async fn format_json(place: Place) -> Outcome {
    let request = ask(&place, "Describe a lighthouse. Answer in JSON.").format(FormatType::Json);
    let answer = place.client.send_chat_messages(request).await?;
    serde_json::from_str::<serde_json::Value>(&answer.message.content)?;
    Ok(())
}

/// Thinking stands beside the text, and is not there when it is not wanted.
async fn think(place: Place) -> Outcome {
    let low = place.client.send_chat_messages(ask(&place, QUESTION).think(ThinkType::Low)).await?;
    check(low.message.thinking.is_some_and(|text| !text.is_empty()), "no thinking")?;
    let none = place.client.send_chat_messages(ask(&place, QUESTION).think(false)).await?;
    check(none.message.thinking.is_none(), &none)
}

/// Thinking comes in frames of its own.
async fn think_stream(place: Place) -> Outcome {
    let frames = read(&place, ask(&place, QUESTION).think(true)).await?;
    check(frames.iter().any(|frame| frame.message.thinking.is_some()), &frames)?;
    check(!text_of(&frames).is_empty(), &frames)
}

/// A picture is taken.
async fn vision(place: Place) -> Outcome {
    let message = ChatMessage::user(QUESTION.to_owned()).add_image(Image::from_base64(PNG));
    let request = ChatMessageRequest::new(place.chat.clone(), vec![message]);
    let answer = place.client.send_chat_messages(request).await?;
    check(!answer.message.content.is_empty(), &answer)
}

/// A prompt is answered in one piece.
async fn generate(place: Place) -> Outcome {
    let answer = place.client.generate(GenerationRequest::new(place.chat, QUESTION)).await?;
    check(answer.done && !answer.response.is_empty() && answer.eval_count > Some(0), &answer)
}

/// A prompt is answered in frames.
async fn generate_stream(place: Place) -> Outcome {
    let request = GenerationRequest::new(place.chat, QUESTION);
    let mut stream = place.client.generate_stream(request).await?;
    let mut frames = Vec::new();
    while let Some(some) = stream.next().await {
        frames.extend(some?);
    }
    check(frames.len() > 2 && frames.last().is_some_and(|frame| frame.done), &frames)
}

/// Vectors of one text and of two, each of length one.
async fn embed(place: Place) -> Outcome {
    for texts in [vec!["harbour"], vec!["harbour", "fog"]] {
        let request = GenerateEmbeddingsRequest::new(place.embedding.clone(), texts.clone().into());
        let vectors = place.client.generate_embeddings(request).await?.embeddings;
        check(vectors.len() == texts.len(), vectors.len())?;
        for vector in vectors {
            let length = vector.iter().map(|part| part * part).sum::<f32>().sqrt();
            check((length - 1.0).abs() < 1e-3, length)?;
        }
    }
    Ok(())
}

/// A model that is here is pulled at once.
async fn pull(place: Place) -> Outcome {
    let whole = place.client.pull_model(place.chat, false).await?;
    check(whole.message == "success", &whole)
}

/// Progress is told in frames, of which the last says that it is done.
async fn pull_stream(place: Place) -> Outcome {
    let mut stream = place.client.pull_model_stream(place.chat, false).await?;
    let mut last = String::new();
    while let Some(status) = stream.next().await {
        last = status?.message;
    }
    check(last == "success", last)
}

/// A made model answers, and so does its copy, until they are deleted.
async fn create_copy_delete(place: Place) -> Outcome {
    let (made, copied) = ("driver-made-by-rust".to_owned(), "driver-copied-by-rust".to_owned());
    let request = CreateModelRequest::new(made.clone()).from_model(place.chat.clone());
    let mut stream = place.client.create_model_stream(request.system("Be brief.".to_owned())).await?;
    let mut last = String::new();
    while let Some(status) = stream.next().await {
        last = status?.message;
    }
    check(last == "success", last)?;
    place.client.copy_model(made.clone(), copied.clone()).await?;
    for name in [made, copied] {
        let request = GenerationRequest::new(name.clone(), QUESTION);
        check(!place.client.generate(request).await?.response.is_empty(), &name)?;
        place.client.delete_model(name.clone()).await?;
        let again = place.client.delete_model(name).await.err();
        check(again.is_some_and(|error| error.to_string().contains("not found")), "deleted twice")?;
    }
    Ok(())
}

/// A prompt without words loads a model, and unloads it when it shall not stay.
async fn load_and_unload(place: Place) -> Outcome {
    let request = GenerationRequest::new(place.chat.clone(), "");
    let loaded = place.client.generate(request.clone()).await?;
    check(loaded.done && loaded.response.is_empty(), &loaded)?;
    let unloaded = place.client.generate(request.keep_alive(KeepAlive::UnloadOnCompletion)).await?;
    check(unloaded.done && unloaded.response.is_empty(), &unloaded)
}

/// A model that is not there is refused in words that people match on.
async fn missing_model(place: Place) -> Outcome {
    let missing = Place { chat: MISSING_MODEL.to_owned(), ..place };
    let chat = missing.client.send_chat_messages(ask(&missing, QUESTION)).await.err();
    let stream = missing.client.send_chat_messages_stream(ask(&missing, QUESTION)).await.err();
    let show = missing.client.show_model_info(MISSING_MODEL.to_owned()).await.err();
    let prompt = GenerationRequest::new(MISSING_MODEL.to_owned(), QUESTION);
    let generate = missing.client.generate(prompt).await.err();
    for error in [chat, stream, show, generate] {
        let words = error.map(|error| error.to_string()).unwrap_or_default();
        check(words.contains("not found"), words)?;
    }
    Ok(())
}

/// Vectors of a model that is not there.
async fn missing_model_embed(place: Place) -> Outcome {
    let request = GenerateEmbeddingsRequest::new(MISSING_MODEL.to_owned(), vec!["fog"].into());
    let words = place.client.generate_embeddings(request).await.err().map(|error| error.to_string());
    check(words.as_ref().is_some_and(|words| words.contains("not found")), words)
}

/// A client that leaves a stream early can go on.
async fn stream_abort(place: Place) -> Outcome {
    let mut stream = place.client.send_chat_messages_stream(ask(&place, HELD_QUESTION)).await?;
    let first = stream.next().await.ok_or("no frame")?;
    check(first.is_ok_and(|frame| !frame.done), "the first frame is not the last")?;
    drop(stream);
    chat(place).await
}

/// An answer that breaks off does not pass for a whole one: this client drops an error frame's
/// words, but then no frame is the last.
async fn stream_breaks_off(place: Place) -> Outcome {
    let mut stream = place.client.send_chat_messages_stream(ask(&place, BROKEN_QUESTION)).await?;
    let mut is_whole = false;
    while let Some(frame) = stream.next().await {
        is_whole |= frame.is_ok_and(|frame| frame.done);
    }
    check(!is_whole, "it passed for a whole answer")
}

const SCENARIOS: &[(&str, Scenario<Place>)] = scenarios::scenarios! {
    list show chat chat_stream chat_options tools tools_stream tools_roundtrip format_schema
    format_json think think_stream vision generate generate_stream embed pull pull_stream
    create_copy_delete load_and_unload missing_model missing_model_embed stream_abort
    stream_breaks_off
};

#[tokio::main]
async fn main() {
    scenarios::main(SCENARIOS, |url, chat, embedding| {
        let client = Ollama::try_new(url).ok()?;
        Some(Place { client, chat: chat.to_owned(), embedding: embedding.to_owned() })
    })
    .await;
}
