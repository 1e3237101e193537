// Drives ai-sdk-ollama beneath the Vercel AI SDK: it stands on the official client.
// An abort ends its own stream but not its request, so no scenario leaves an answer.

import { embedMany, generateText, Output, stepCountIs, streamText } from "ai";
import { createOllama } from "ai-sdk-ollama";

import {
  BROKEN_QUESTION,
  MISSING_MODEL,
  PERSON_QUESTION,
  QUESTION,
  WEATHER_QUESTION,
  check,
  checkPerson,
  equal,
  isCount,
  main,
  refusalOf,
} from "./scenarios.mjs";
import { PERSON, checkThinkingFirst, makeTools, picturedMessages, readParts } from "./vercel.mjs";

const connect = (place) => createOllama({ baseURL: place.url });
const chatOf = (place, settings) => ({ model: connect(place)(place.chat, settings), maxRetries: 0 });

await main({
  async generateText(place) {
    const answer = await generateText({ ...chatOf(place), prompt: QUESTION });
    check(answer.text, "text");
    equal("stop", answer.finishReason, "finish reason");
    check(isCount(answer.usage.outputTokens), "output tokens");
  },

  async streamText(place) {
    const parts = await readParts(streamText({ ...chatOf(place), prompt: QUESTION }));
    check(parts.filter((part) => part.type === "text-delta").length > 2, "several deltas");
  },

  async options(place) {
    const settings = { options: { num_predict: 4, seed: 7 }, think: false };
    const answer = await generateText({ ...chatOf(place, settings), prompt: QUESTION });
    equal("length", answer.finishReason, "finish reason");
  },

  async tools(place) {
    const calls = [];
    const tools = makeTools(calls);
    await generateText({ ...chatOf(place), prompt: WEATHER_QUESTION, tools, stopWhen: stepCountIs(3) });
    check(calls.length >= 1, "a call");
    equal("string", typeof calls[0].city, "type of city");
  },

  async tools_stream(place) {
    const calls = [];
    const tools = makeTools(calls);
    await readParts(streamText({ ...chatOf(place), prompt: WEATHER_QUESTION, tools, stopWhen: stepCountIs(3) }));
    check(calls.length >= 1, "a call");
  },

  async structured(place) {
    const output = Output.object({ schema: PERSON });
    checkPerson((await generateText({ ...chatOf(place), prompt: PERSON_QUESTION, output })).output);
  },

  async think(place) {
    const answer = await generateText({ ...chatOf(place, { think: true }), prompt: QUESTION });
    check(answer.reasoningText, "thinking");
  },

  async think_stream(place) {
    const result = streamText({ ...chatOf(place, { think: true }), prompt: QUESTION });
    checkThinkingFirst(await readParts(result));
  },

  async vision(place) {
    check((await generateText({ ...chatOf(place), messages: picturedMessages() })).text, "text");
  },

  async embed(place) {
    const model = connect(place).textEmbeddingModel(place.embedding);
    const { embeddings } = await embedMany({ model, values: ["harbour", "fog"], maxRetries: 0 });
    equal(2, embeddings.length, "number of vectors");
    for (const vector of embeddings) check(Math.abs(Math.hypot(...vector) - 1) < 1e-3, "length");
  },

  async missing_model(place) {
    const model = connect(place)(MISSING_MODEL);
    const error = await refusalOf(() => generateText({ model, prompt: QUESTION, maxRetries: 0 }));
    check(String(error).includes("not found"), String(error));
  },

  async missing_model_stream(place) {
    const model = connect(place)(MISSING_MODEL);
    const result = streamText({ model, prompt: QUESTION, maxRetries: 0, onError: () => {} });
    const error = await refusalOf(() => readParts(result));
    check(String(error).includes("not found"), String(error));
  },

  async missing_embed_model(place) {
    const model = connect(place).textEmbeddingModel(MISSING_MODEL);
    const error = await refusalOf(() => embedMany({ model, values: ["harbour"], maxRetries: 0 }));
    check(String(error).includes("not found"), String(error));
  },

  async stream_breaks_off(place) {
    const result = streamText({ ...chatOf(place), prompt: BROKEN_QUESTION, onError: () => {} });
    const error = await refusalOf(() => readParts(result));
    // The official client's own words for a stream that merely ends: nothing was reported.
    check(!/did not receive done/i.test(String(error)), String(error));
  },
});
