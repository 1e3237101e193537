// Drives ollama-ai-provider-v2 beneath the Vercel AI SDK. Its schemas are the strictest known
// (docs/facts/clients.md#strictest-schemas), and it sends options at top level that no Ollama knows
// (docs/facts/clients.md#top-level-options).

import { embedMany, generateText, jsonSchema, Output, stepCountIs, streamText } from "ai";
import { createOllama } from "ollama-ai-provider-v2";

import {
  BROKEN_QUESTION,
  HELD_QUESTION,
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

const connect = (place) => createOllama({ baseURL: `${place.url}/api` });
const chatOf = (place) => ({ model: connect(place)(place.chat), maxRetries: 0 });

function checkUsage(usage) {
  check(isCount(usage.inputTokens), `inputTokens ${usage.inputTokens}`);
  check(isCount(usage.outputTokens), `outputTokens ${usage.outputTokens}`);
}

const textOf = (parts) =>
  parts.map((part) => (part.type === "text-delta" ? part.text : "")).join("");

await main({
  async generateText(place) {
    const answer = await generateText({ ...chatOf(place), prompt: QUESTION });
    check(answer.text, "text");
    equal("stop", answer.finishReason, "finish reason");
    checkUsage(answer.usage);
  },

  async streamText(place) {
    const result = streamText({ ...chatOf(place), prompt: QUESTION });
    const parts = await readParts(result);
    check(parts.filter((part) => part.type === "text-delta").length > 2, "several deltas");
    check(textOf(parts), "text");
    equal("stop", await result.finishReason, "finish reason");
    checkUsage(await result.usage);
  },

  async options(place) {
    const answer = await generateText({
      ...chatOf(place),
      system: "Be brief.",
      prompt: QUESTION,
      temperature: 0,
      topP: 0.9,
      maxOutputTokens: 64,
      providerOptions: { ollama: { options: { num_predict: 4, seed: 7 } } },
    });
    equal("length", answer.finishReason, "finish reason");
    check(answer.usage.outputTokens <= 4, `outputTokens ${answer.usage.outputTokens}`);
  },

  async tools(place) {
    const calls = [];
    const answer = await generateText({
      ...chatOf(place),
      prompt: WEATHER_QUESTION,
      tools: makeTools(calls),
      stopWhen: stepCountIs(3),
    });
    equal(1, calls.length, "number of calls");
    equal("string", typeof calls[0].city, "type of city");
    equal(2, answer.steps.length, "number of steps");
    check(answer.text, "text");
  },

  async tools_stream(place) {
    const calls = [];
    const result = streamText({
      ...chatOf(place),
      prompt: WEATHER_QUESTION,
      tools: makeTools(calls),
      stopWhen: stepCountIs(3),
    });
    check(textOf(await readParts(result)), "text");
    equal(1, calls.length, "number of calls");
    equal(2, (await result.steps).length, "number of steps");
  },

  async structured(place) {
    const output = Output.object({ schema: PERSON });
    const answer = await generateText({ ...chatOf(place), prompt: PERSON_QUESTION, output });
    checkPerson(answer.output);
  },

  async structured_json_schema(place) {
    const schema = jsonSchema({
      type: "object",
      properties: { city: { type: "string" } },
      required: ["city"],
      additionalProperties: false,
    });
    const output = Output.object({ schema });
    const result = streamText({ ...chatOf(place), prompt: "Name a city.", output });
    await readParts(result);
    equal(["city"], Object.keys(await result.output), "keys");
  },

  async think(place) {
    const providerOptions = { ollama: { think: true } };
    const answer = await generateText({ ...chatOf(place), prompt: QUESTION, providerOptions });
    check(answer.text, "text");
    check(answer.reasoningText, "thinking");
  },

  async think_stream(place) {
    const providerOptions = { ollama: { think: true } };
    const result = streamText({ ...chatOf(place), prompt: QUESTION, providerOptions });
    checkThinkingFirst(await readParts(result));
  },

  async vision(place) {
    const without = await generateText({ ...chatOf(place), prompt: QUESTION });
    const messages = picturedMessages();
    const answer = await generateText({ ...chatOf(place), messages });
    check(answer.text, "text");
    check(answer.usage.inputTokens > without.usage.inputTokens, "the picture counts");
  },

  async embed(place) {
    const model = connect(place).textEmbeddingModel(place.embedding);
    const values = ["harbour", "a lantern in the fog"];
    const { embeddings } = await embedMany({ model, values, maxRetries: 0 });
    equal(values.length, embeddings.length, "number of vectors");
    for (const vector of embeddings) {
      check(Math.abs(Math.hypot(...vector) - 1) < 1e-3, `length ${Math.hypot(...vector)}`);
    }
  },

  async missing_model(place) {
    const model = connect(place)(MISSING_MODEL);
    const error = await refusalOf(() => generateText({ model, prompt: QUESTION, maxRetries: 0 }));
    equal("AI_APICallError", error.name, "name of the error");
    equal(404, error.statusCode, "status");
    check(error.responseBody.includes("not found"), error.responseBody);
  },

  async missing_model_stream(place) {
    const model = connect(place)(MISSING_MODEL);
    const result = streamText({ model, prompt: QUESTION, maxRetries: 0, onError: () => {} });
    const error = await refusalOf(() => readParts(result));
    equal(404, error.statusCode, "status");
  },

  async missing_embed_model(place) {
    const model = connect(place).textEmbeddingModel(MISSING_MODEL);
    const error = await refusalOf(() => embedMany({ model, values: ["harbour"], maxRetries: 0 }));
    equal(404, error.statusCode, "status");
  },

  async stream_abort(place) {
    const leaving = new AbortController();
    const abortSignal = leaving.signal;
    const result = streamText({
      ...chatOf(place),
      prompt: HELD_QUESTION,
      abortSignal,
      onError: () => {},
    });
    const kinds = [];
    for await (const part of result.fullStream) {
      kinds.push(part.type);
      if (part.type.endsWith("-delta")) leaving.abort();
    }
    check(kinds.some((kind) => kind.endsWith("-delta")), kinds.join(" "));
    equal("abort", kinds.at(-1), "last part");
    check((await generateText({ ...chatOf(place), prompt: QUESTION })).text, "text");
  },

  async stream_breaks_off(place) {
    const result = streamText({ ...chatOf(place), prompt: BROKEN_QUESTION, onError: () => {} });
    try {
      await readParts(result);
    } catch {
      return;
    }
    // This client passes over an error frame (docs/facts/clients.md#error-frames), but must not
    // report success.
    equal("other", await result.finishReason, "finish reason");
  },
});
