// Drives @langchain/ollama: tool results without a name, its own ids of calls
// (docs/facts/clients.md#call-ids-lost). It heeds an abort only when the next chunk comes, so no
// scenario leaves an answer.

import { HumanMessage, SystemMessage, ToolMessage } from "@langchain/core/messages";
import { ChatOllama, Ollama, OllamaEmbeddings } from "@langchain/ollama";
import { z } from "zod";

import {
  BROKEN_QUESTION,
  MISSING_MODEL,
  PERSON_QUESTION,
  QUESTION,
  TRADES,
  WEATHER_QUESTION,
  check,
  collect,
  checkPerson,
  equal,
  isCount,
  main,
  makePng,
  refusalOf,
} from "./scenarios.mjs";

const connect = (place, more) =>
  new ChatOllama({ baseUrl: place.url, model: place.chat, maxRetries: 0, ...more });

const PERSON = z.object({
  name: z.string(),
  age: z.int(),
  trade: z.enum(TRADES),
  friends: z.array(z.string()),
});
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city.",
    parameters: {
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
    },
  },
};

function checkAnswer(answer) {
  check(isCount(answer.usage_metadata.input_tokens), "input tokens");
  check(isCount(answer.usage_metadata.output_tokens), "output tokens");
  check(answer.content, "text");
}

await main({
  async invoke(place) {
    checkAnswer(await connect(place).invoke([new SystemMessage("Brief."), new HumanMessage(QUESTION)]));
  },

  async stream(place) {
    const chunks = await collect(await connect(place).stream(QUESTION));
    check(chunks.filter((chunk) => chunk.content).length > 2, "several chunks");
  },

  async options(place) {
    const answer = await connect(place, { numPredict: 4, temperature: 0, seed: 7, think: false }).invoke(QUESTION);
    equal("length", answer.response_metadata.done_reason, "reason");
  },

  async tools_roundtrip(place) {
    const model = connect(place).bindTools([WEATHER]);
    const messages = [new HumanMessage(WEATHER_QUESTION)];
    const first = await model.invoke(messages);
    equal(["get_weather"], first.tool_calls.map((call) => call.name), "calls");
    messages.push(first);
    for (const call of first.tool_calls) {
      messages.push(new ToolMessage({ content: "17", tool_call_id: call.id }));
    }
    checkAnswer(await model.invoke(messages));
  },

  async tools_stream(place) {
    const chunks = await collect(await connect(place).bindTools([WEATHER]).stream(WEATHER_QUESTION));
    const calls = chunks.flatMap((chunk) => chunk.tool_calls ?? []);
    equal(1, calls.length, "number of calls");
    equal("string", typeof calls[0].args.city, "type of city");
  },

  async structured_json_schema(place) {
    const model = connect(place).withStructuredOutput(PERSON, { method: "jsonSchema" });
    checkPerson(await model.invoke(PERSON_QUESTION));
  },

  async structured_function_calling(place) {
    const model = connect(place).withStructuredOutput(PERSON, { method: "functionCalling" });
    checkPerson(await model.invoke(PERSON_QUESTION));
  },

  async structured_json_mode(place) {
    const model = connect(place).withStructuredOutput(z.looseObject({}), { method: "jsonMode" });
    const answer = await model.invoke(`${PERSON_QUESTION} Answer in JSON.`);
    check(answer && typeof answer === "object" && !Array.isArray(answer), JSON.stringify(answer));
  },

  async think(place) {
    const answer = await connect(place, { think: true }).invoke(QUESTION);
    checkAnswer(answer);
    check(answer.additional_kwargs.reasoning_content, "thinking");
  },

  async think_stream(place) {
    const chunks = await collect(await connect(place, { think: true }).stream(QUESTION));
    check(chunks.some((chunk) => chunk.additional_kwargs.reasoning_content), "thinking");
    check(chunks.some((chunk) => chunk.content), "text");
  },

  async vision(place) {
    const url = `data:image/png;base64,${makePng().toString("base64")}`;
    const content = [
      { type: "text", text: QUESTION },
      { type: "image_url", image_url: url },
    ];
    checkAnswer(await connect(place).invoke([new HumanMessage({ content })]));
  },

  async llm(place) {
    const model = new Ollama({ baseUrl: place.url, model: place.chat, maxRetries: 0 });
    check(await model.invoke(QUESTION), "text");
  },

  async llm_stream(place) {
    const model = new Ollama({ baseUrl: place.url, model: place.chat, maxRetries: 0 });
    check((await collect(await model.stream(QUESTION))).filter((text) => text).length > 2, "several chunks");
  },

  async embeddings(place) {
    const model = new OllamaEmbeddings({ baseUrl: place.url, model: place.embedding, maxRetries: 0 });
    const vectors = await model.embedDocuments(["harbour", "fog"]);
    equal(2, vectors.length, "number of vectors");
    for (const vector of vectors) check(Math.abs(Math.hypot(...vector) - 1) < 1e-3, "length");
  },

  async check_or_pull_model(place) {
    checkAnswer(await connect(place, { checkOrPullModel: true, model: `${place.chat}:latest` }).invoke(QUESTION));
  },

  async missing_model(place) {
    const chat = connect(place, { model: MISSING_MODEL });
    check(String(await refusalOf(() => chat.invoke(QUESTION))).includes("not found"), "words");
  },

  async missing_model_stream(place) {
    const chat = connect(place, { model: MISSING_MODEL });
    const error = await refusalOf(async () => collect(await chat.stream(QUESTION)));
    check(String(error).includes("not found"), String(error));
  },

  async missing_embed_model(place) {
    const vectors = new OllamaEmbeddings({ baseUrl: place.url, model: MISSING_MODEL, maxRetries: 0 });
    check(String(await refusalOf(() => vectors.embedQuery("x"))).includes("not found"), "words");
  },

  async stream_breaks_off(place) {
    const error = await refusalOf(async () => collect(await connect(place).stream(BROKEN_QUESTION)));
    // The official client's own words for a stream that merely ends: nothing was reported.
    check(!/did not receive done/i.test(String(error)), String(error));
  },
});
