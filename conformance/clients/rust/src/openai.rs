//! Drives async-openai below /v1: `openai URL CHAT EMBEDDING [NAME...]`.
//!
//! It decodes every answer into strict types: a model in a list without `created` is an error
//! (docs/facts/clients.md#openai-libraries).

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::types::chat::{
    ChatCompletionMessageToolCalls, CreateChatCompletionRequest, CreateChatCompletionResponse,
    CreateChatCompletionStreamResponse, FinishReason,
};
use async_openai::types::embeddings::CreateEmbeddingRequest;
use scenarios::{
    BROKEN_QUESTION, Failure, HELD_QUESTION, MISSING_MODEL, Outcome, PERSON_QUESTION, PNG, QUESTION, Scenario,
    WEATHER_QUESTION, check,
};
use serde_json::{Value, json};
use tokio_stream::StreamExt;

#[derive(Clone)]
struct Place {
    client: Client<OpenAIConfig>,
    chat: String,
    embedding: String,
}

/// Returns a question with what else is wanted.
fn wish(place: &Place, content: &Value, more: Value) -> Result<CreateChatCompletionRequest, Failure> {
    let mut body = json!({"model": place.chat, "messages": [{"role": "user", "content": content}]});
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    Ok(serde_json::from_value(body)?)
}

async fn ask(place: &Place, question: &str, more: Value) -> Result<CreateChatCompletionResponse, Failure> {
    Ok(place.client.chat().create(wish(place, &json!(question), more)?).await?)
}

async fn read(
    place: &Place,
    question: &str,
    more: Value,
) -> Result<Vec<CreateChatCompletionStreamResponse>, Failure> {
    let mut stream = place.client.chat().create_stream(wish(place, &json!(question), more)?).await?;
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.next().await {
        chunks.push(chunk?);
    }
    Ok(chunks)
}

fn weather() -> Value {
    json!([{"type": "function", "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }}])
}

/// Models are listed, and each is found by its name.
async fn models(place: Place) -> Outcome {
    let listed = place.client.models().list().await?.data;
    check(listed.iter().any(|model| model.id.starts_with(&place.chat)), &listed)?;
    check(listed.iter().all(|model| model.created > 0), &listed)?;
    for model in listed {
        check(place.client.models().retrieve(&model.id).await?.id == model.id, &model.id)?;
    }
    Ok(())
}

/// A chat answers in one piece, with its counts.
async fn chat(place: Place) -> Outcome {
    let answer = ask(&place, QUESTION, json!({})).await?;
    let choice = answer.choices.first().ok_or("no choice")?;
    check(choice.message.content.as_ref().is_some_and(|text| !text.is_empty()), choice)?;
    check(choice.finish_reason == Some(FinishReason::Stop), choice)?;
    check(answer.usage.as_ref().is_some_and(|usage| usage.completion_tokens > 0), &answer.usage)
}

/// A chat answers in chunks, the last with its counts.
async fn chat_stream(place: Place) -> Outcome {
    let chunks = read(&place, QUESTION, json!({"stream_options": {"include_usage": true}})).await?;
    let texts = chunks.iter().flat_map(|chunk| &chunk.choices).filter(|one| one.delta.content.is_some());
    check(texts.count() > 2, &chunks)?;
    check(chunks.last().is_some_and(|chunk| chunk.usage.is_some()), chunks.last())
}

/// A limit cuts.
async fn options(place: Place) -> Outcome {
    let more = json!({"max_tokens": 4, "temperature": 0.0, "seed": 7, "reasoning_effort": "none"});
    let answer = ask(&place, QUESTION, more).await?;
    check(answer.choices[0].finish_reason == Some(FinishReason::Length), &answer.choices)
}

/// A tool is called, and its result is answered in words.
async fn tools_roundtrip(place: Place) -> Outcome {
    let first = ask(&place, WEATHER_QUESTION, json!({"tools": weather()})).await?;
    let calls = first.choices[0].message.tool_calls.clone().unwrap_or_default();
    let [ChatCompletionMessageToolCalls::Function(call)] = calls.as_slice() else {
        return Err(format!("not one call: {calls:?}").into());
    };
    let city: Value = serde_json::from_str(&call.function.arguments)?;
    check(call.function.name == "get_weather" && city["city"].is_string(), call)?;
    let messages = json!([
        {"role": "user", "content": WEATHER_QUESTION},
        {"role": "assistant", "tool_calls": [call_of(&call.id, &call.function.arguments)]},
        {"role": "tool", "tool_call_id": call.id, "content": "17"},
    ]);
    let answer = ask(&place, "", json!({"tools": weather(), "messages": messages})).await?;
    check(answer.choices[0].message.content.as_ref().is_some_and(|text| !text.is_empty()), &answer.choices)
}

fn call_of(id: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}})
}

/// The pieces of a call's arguments are JSON when joined.
async fn tools_stream(place: Place) -> Outcome {
    let chunks = read(&place, WEATHER_QUESTION, json!({"tools": weather()})).await?;
    let mut arguments = String::new();
    for piece in chunks.iter().flat_map(|chunk| &chunk.choices).filter_map(|one| one.delta.tool_calls.as_ref()) {
        for call in piece {
            let part = call.function.as_ref().and_then(|function| function.arguments.as_deref());
            arguments.push_str(part.unwrap_or_default());
        }
    }
    let city: Value = serde_json::from_str(&arguments)?;
    check(city["city"].is_string(), arguments)
}

/// With a schema the text is an instance of it.
async fn format_schema(place: Place) -> Outcome {
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": false,
    });
    let named = json!({"name": "person", "schema": schema, "strict": true});
    let format = json!({"type": "json_schema", "json_schema": named});
    let answer = ask(&place, PERSON_QUESTION, json!({"response_format": format})).await?;
    let person: Value = serde_json::from_str(answer.choices[0].message.content.as_ref().ok_or("no text")?)?;
    check(person["name"].is_string() && person["age"].is_i64(), person)
}

/// A picture is taken.
async fn vision(place: Place) -> Outcome {
    let url = format!("data:image/png;base64,{PNG}");
    let parts = json!([
        {"type": "text", "text": QUESTION},
        {"type": "image_url", "image_url": {"url": url}},
    ]);
    let answer = place.client.chat().create(wish(&place, &parts, json!({}))?).await?;
    check(answer.choices[0].message.content.is_some(), &answer.choices)
}

/// Vectors as numbers, and the same ones in base64.
async fn embed(place: Place) -> Outcome {
    let input = json!({"model": place.embedding, "input": ["harbour", "a lantern in the fog"]});
    let request: CreateEmbeddingRequest = serde_json::from_value(input)?;
    let plain = place.client.embeddings().create(request.clone()).await?.data;
    check(plain.len() == 2, plain.len())?;
    let mut packed = request;
    packed.encoding_format = Some(async_openai::types::embeddings::EncodingFormat::Base64);
    let packed = place.client.embeddings().create_base64(packed).await?.data;
    for (numbers, text) in plain.into_iter().zip(packed) {
        let unpacked: Vec<f32> = text.embedding.into();
        check(numbers.embedding == unpacked && unpacked.iter().any(|part| *part != 0.0), unpacked)?;
    }
    Ok(())
}

/// A model that is not there is refused in words.
async fn missing_model(place: Place) -> Outcome {
    let missing = Place { chat: MISSING_MODEL.to_owned(), ..place };
    let chat = missing.client.chat().create(wish(&missing, &json!(QUESTION), json!({}))?).await.err();
    let input = json!({"model": MISSING_MODEL, "input": "fog"});
    let embed = missing.client.embeddings().create(serde_json::from_value(input)?).await.err();
    let model = missing.client.models().retrieve(MISSING_MODEL).await.err();
    for error in [chat, embed, model] {
        check(matches!(&error, Some(OpenAIError::ApiError(_))), &error)?;
        let words = error.map(|error| error.to_string()).unwrap_or_default();
        check(words.contains("not found"), words)?;
    }
    Ok(())
}

/// A client that leaves a stream early can go on.
async fn stream_abort(place: Place) -> Outcome {
    let request = wish(&place, &json!(HELD_QUESTION), json!({}))?;
    let mut stream = place.client.chat().create_stream(request).await?;
    stream.next().await.ok_or("no chunk")??;
    drop(stream);
    chat(place).await
}

/// An answer that breaks off ends in an error.
async fn stream_breaks_off(place: Place) -> Outcome {
    check(read(&place, BROKEN_QUESTION, json!({})).await.is_err(), "it passed for a whole answer")
}

const SCENARIOS: &[(&str, Scenario<Place>)] = scenarios::scenarios! {
    models chat chat_stream options tools_roundtrip tools_stream format_schema vision embed
    missing_model stream_abort stream_breaks_off
};

#[tokio::main]
async fn main() {
    scenarios::main(SCENARIOS, |url, chat, embedding| {
        let config = OpenAIConfig::new().with_api_base(format!("{url}/v1")).with_api_key("ollama");
        let client = Client::with_config(config);
        Some(Place { client, chat: chat.to_owned(), embedding: embedding.to_owned() })
    })
    .await;
}
