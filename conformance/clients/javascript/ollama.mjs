// Drives the official JavaScript client. It reads streams by itself and insists on `done`
// (docs/facts/clients.md#javascript-client); dates in its types are plain strings.

import { Ollama } from "ollama";

import {
  BROKEN_QUESTION,
  HELD_QUESTION,
  MISSING_MODEL,
  PERSON_QUESTION,
  QUESTION,
  TRADES,
  TWO_QUESTION,
  WEATHER_QUESTION,
  check,
  checkPerson,
  equal,
  isCount,
  main,
  makePng,
  refusalOf,
  waitUntil,
} from "./scenarios.mjs";

const CONCURRENT = 8;

const WEATHER_TOOL = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city.",
    parameters: {
      type: "object",
      properties: {
        city: { type: "string", description: "Name of the city" },
        days: { type: "integer", description: "Days ahead" },
      },
      required: ["city"],
    },
  },
};
const TIME_TOOL = {
  type: "function",
  function: {
    name: "get_time",
    description: "The time in a zone.",
    parameters: {
      type: "object",
      properties: { zone: { type: "string", enum: ["UTC", "CET"] } },
      required: ["zone"],
    },
  },
};
const TOOLS = [WEATHER_TOOL, TIME_TOOL];
const PERSON_SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  properties: {
    name: { type: "string" },
    age: { type: "integer" },
    trade: { type: "string", enum: TRADES },
    friends: { type: "array", items: { type: "string" } },
  },
  required: ["name", "age", "trade", "friends"],
  additionalProperties: false,
};

const connect = (place) => new Ollama({ host: place.url });
const said = (content, more = {}) => [{ role: "user", content, ...more }];
const ask = (place, more = {}) => ({ model: place.chat, messages: said(QUESTION), ...more });

async function readAll(stream) {
  const frames = [];
  for await (const frame of stream) frames.push(frame);
  return frames;
}

function checkLast(last, reasons = ["stop"]) {
  equal(true, last.done, "done");
  check(reasons.includes(last.done_reason), `done_reason ${last.done_reason}`);
  check(!Number.isNaN(Date.parse(last.created_at)), `created_at ${last.created_at}`);
  for (const name of ["total_duration", "prompt_eval_count", "eval_count"]) {
    check(isCount(last[name]), `${name} ${last[name]}`);
  }
  for (const name of ["prompt_eval_duration", "eval_duration"]) {
    check(Number.isSafeInteger(last[name]), `${name} ${last[name]}`);
  }
}

function checkChat(answer, place, reasons) {
  equal(place.chat, answer.model, "model");
  equal("assistant", answer.message.role, "role");
  equal("string", typeof answer.message.content, "type of content");
  checkLast(answer, reasons);
  return answer.message.content;
}

function checkFrames(frames, place, least = 3) {
  check(frames.length >= least, `${frames.length} frames`);
  frames.forEach((frame, n) => {
    equal(n === frames.length - 1, frame.done, `done of frame ${n}`);
    equal(place.chat, frame.model, `model of frame ${n}`);
  });
  checkLast(frames.at(-1));
}

async function readChat(stream, place, least) {
  const frames = await readAll(stream);
  checkFrames(frames, place, least);
  for (const { message } of frames) {
    equal("assistant", message.role, "role");
    equal("string", typeof message.content, "type of content");
  }
  return frames.map((frame) => frame.message);
}

const textOf = (messages) => messages.map((message) => message.content).join("");
const callsOf = (messages) => messages.flatMap((message) => message.tool_calls ?? []);

function checkWeatherCall(call) {
  equal("get_weather", call.function.name, "name");
  const { city, days = 0, ...others } = call.function.arguments;
  check(typeof city === "string" && Number.isInteger(days), JSON.stringify(call));
  equal({}, others, "further arguments");
}

function checkUnit(vector) {
  check(Math.abs(Math.hypot(...vector) - 1) < 1e-3, `length ${Math.hypot(...vector)}`);
}

async function findLoaded(client, place) {
  const { models } = await client.ps();
  return models.find((one) => one.name.replace(/:latest$/, "") === place.chat);
}

async function checkMissing(action) {
  const error = await refusalOf(action);
  equal("ResponseError", error.name, "name of the error");
  equal(404, error.status_code, "status");
  check(error.message.includes("not found"), error.message);
}

await main({
  async list(place) {
    const { models } = await connect(place).list();
    const names = models.map((model) => model.name.replace(/:latest$/, ""));
    check(names.includes(place.chat), names.join(" "));
    equal(models.length, new Set(models.map((model) => model.digest)).size, "number of digests");
    for (const model of models) {
      equal(model.name, model.model, "model");
      check(isCount(model.size), `size ${model.size}`);
      check(!Number.isNaN(Date.parse(model.modified_at)), `modified_at ${model.modified_at}`);
    }
  },

  async show(place) {
    const { capabilities, model_info, details } = await connect(place).show({ model: place.chat });
    for (const one of ["completion", "tools", "thinking", "vision"]) {
      check(capabilities.includes(one), capabilities.join(" "));
    }
    const windows = Object.keys(model_info).filter((key) => key.endsWith(".context_length"));
    check(windows.length > 0 && isCount(model_info[windows[0]]), JSON.stringify(model_info));
    check(details.quantization_level, JSON.stringify(details));
  },

  async version(place) {
    const { version } = await connect(place).version();
    check(/^\d+\.\d+\.\d+$/.test(version), `version ${version}`);
  },

  async chat(place) {
    check(checkChat(await connect(place).chat(ask(place)), place), "text");
  },

  async chat_stream(place) {
    const stream = await connect(place).chat(ask(place, { stream: true }));
    check(textOf(await readChat(stream, place)), "text");
  },

  async chat_options(place) {
    const options = { temperature: 0, top_k: 40, seed: 7, num_predict: 4, stop: ["\x1c"] };
    const request = ask(place, { options, keep_alive: 300, think: false });
    const answer = await connect(place).chat(request);
    checkChat(answer, place, ["length"]);
    check(answer.eval_count <= 4, `eval_count ${answer.eval_count}`);
  },

  async think(place) {
    const answer = await connect(place).chat(ask(place, { think: true }));
    check(checkChat(answer, place), "text");
    check(answer.message.thinking, "thinking");
  },

  async think_stream(place) {
    const stream = await connect(place).chat(ask(place, { think: true, stream: true }));
    const messages = await readChat(stream, place);
    const firstText = messages.findIndex((message) => message.content);
    const lastThought = messages.findLastIndex((message) => message.thinking);
    check(0 <= lastThought && lastThought < firstText, `${lastThought} before ${firstText}`);
  },

  async think_level(place) {
    const answer = await connect(place).chat(ask(place, { think: "high" }));
    check(checkChat(answer, place), "text");
    check(answer.message.thinking, "thinking");
  },

  async think_false(place) {
    const answer = await connect(place).chat(ask(place, { think: false }));
    check(checkChat(answer, place), "text");
    check(!answer.message.thinking, answer.message.thinking);
  },

  async tools_roundtrip(place) {
    const client = connect(place);
    const messages = said(WEATHER_QUESTION);
    const first = await client.chat(ask(place, { messages, tools: TOOLS }));
    checkChat(first, place);
    const calls = callsOf([first.message]);
    equal(1, calls.length, "number of calls");
    checkWeatherCall(calls[0]);
    messages.push(first.message, { role: "tool", tool_name: "get_weather", content: "17" });
    const second = await client.chat(ask(place, { messages, tools: TOOLS }));
    check(checkChat(second, place), "text");
    equal(0, callsOf([second.message]).length, "number of calls");
  },

  async tools_parallel(place) {
    const request = ask(place, { messages: said(TWO_QUESTION), tools: TOOLS });
    const { message } = await connect(place).chat(request);
    const names = callsOf([message]).map((call) => call.function.name);
    equal(["get_time", "get_weather"], names.sort(), "calls");
  },

  async tools_stream(place) {
    const messages = said(TWO_QUESTION);
    const request = ask(place, { messages, tools: TOOLS, think: false, stream: true });
    const calls = callsOf(await readChat(await connect(place).chat(request), place, 1));
    equal(2, calls.length, "number of calls");
    checkWeatherCall(calls.find((call) => call.function.name === "get_weather"));
  },

  async format_schema(place) {
    const request = ask(place, { messages: said(PERSON_QUESTION), format: PERSON_SCHEMA });
    checkPerson(JSON.parse(checkChat(await connect(place).chat(request), place)));
  },

  async format_json(place) {
    const messages = said(`${PERSON_QUESTION} Answer in JSON.`);
    const answer = await connect(place).chat(ask(place, { messages, format: "json" }));
    JSON.parse(checkChat(answer, place));
  },

  async image_buffer(place) {
    const client = connect(place);
    const without = await client.chat(ask(place));
    const messages = said(QUESTION, { images: [new Uint8Array(makePng())] });
    const answer = await client.chat(ask(place, { messages }));
    check(checkChat(answer, place), "text");
    check(answer.prompt_eval_count > without.prompt_eval_count, "the picture counts");
  },

  async image_base64(place) {
    const messages = said(QUESTION, { images: [makePng().toString("base64")] });
    check(checkChat(await connect(place).chat(ask(place, { messages })), place), "text");
  },

  async generate(place) {
    const answer = await connect(place).generate({ model: place.chat, prompt: QUESTION });
    check(answer.response, "response");
    checkLast(answer);
  },

  async generate_stream(place) {
    const request = { model: place.chat, prompt: QUESTION, system: "Be brief.", stream: true };
    const frames = await readAll(await connect(place).generate(request));
    checkFrames(frames, place);
    check(frames.every((frame) => typeof frame.response === "string"), "a response in each");
    check(frames.some((frame) => frame.response), "response");
  },

  async generate_raw(place) {
    const request = { model: place.chat, prompt: "The lighthouse stood on", raw: true };
    const answer = await connect(place).generate(request);
    check(answer.response, "response");
    checkLast(answer);
  },

  async generate_image_format(place) {
    const request = { model: place.chat, prompt: PERSON_QUESTION, images: [makePng()] };
    const answer = await connect(place).generate({ ...request, format: PERSON_SCHEMA });
    checkPerson(JSON.parse(answer.response));
  },

  async embed(place) {
    const input = ["harbour", "a lantern in the fog"];
    const answer = await connect(place).embed({ model: place.embedding, input, truncate: true });
    equal(input.length, answer.embeddings.length, "number of vectors");
    answer.embeddings.forEach(checkUnit);
    check(isCount(answer.prompt_eval_count), `prompt_eval_count ${answer.prompt_eval_count}`);
  },

  async embed_string(place) {
    const request = { model: place.embedding, input: QUESTION, dimensions: 8 };
    const { embeddings } = await connect(place).embed(request);
    equal([8], embeddings.map((vector) => vector.length), "lengths");
    checkUnit(embeddings[0]);
  },

  async embeddings_legacy(place) {
    const request = { model: place.embedding, prompt: QUESTION };
    const { embedding } = await connect(place).embeddings(request);
    check(embedding.length > 1 && embedding.every(Number.isFinite), JSON.stringify(embedding));
  },

  async pull(place) {
    equal("success", (await connect(place).pull({ model: place.chat })).status, "status");
  },

  async pull_stream(place) {
    const frames = await readAll(await connect(place).pull({ model: place.chat, stream: true }));
    check(frames.every((frame) => frame.status), "a status in each");
    equal("success", frames.at(-1)?.status, "last status");
  },

  async ps(place) {
    const client = connect(place);
    await client.chat(ask(place, { think: false }));
    const model = await findLoaded(client, place);
    check(isCount(model.size), `size ${model.size}`);
    check(Number.isSafeInteger(model.size_vram), `size_vram ${model.size_vram}`);
    check(Date.parse(model.expires_at) > Date.now(), `expires_at ${model.expires_at}`);
    const { models } = await client.list();
    check(models.some((one) => one.digest === model.digest), `digest ${model.digest}`);
  },

  async load_and_unload(place) {
    const client = connect(place);
    const loaded = await client.generate({ model: place.chat, prompt: "" });
    equal([true, "load"], [loaded.done, loaded.done_reason], "the answer to a load");
    check(await findLoaded(client, place), "it is loaded");
    const unloaded = await client.chat({ model: place.chat, messages: [], keep_alive: 0 });
    equal([true, "unload"], [unloaded.done, unloaded.done_reason], "the answer to an unload");
    await waitUntil(async () => !(await findLoaded(client, place)));
  },

  async missing_model(place) {
    await checkMissing(() => connect(place).chat(ask({ chat: MISSING_MODEL })));
  },

  async missing_model_stream(place) {
    const request = ask({ chat: MISSING_MODEL }, { stream: true });
    await checkMissing(async () => readAll(await connect(place).chat(request)));
  },

  async missing_model_generate(place) {
    const request = { model: MISSING_MODEL, prompt: QUESTION };
    await checkMissing(() => connect(place).generate(request));
  },

  async missing_model_show(place) {
    await checkMissing(() => connect(place).show({ model: MISSING_MODEL }));
  },

  async missing_model_embed(place) {
    await checkMissing(() => connect(place).embed({ model: MISSING_MODEL, input: QUESTION }));
  },

  async concurrent(place) {
    const client = connect(place);
    const requests = Array.from({ length: CONCURRENT }, (_, n) =>
      client.chat(ask(place, { messages: said(`${QUESTION} ${"Why? ".repeat(20 * n)}`) })),
    );
    const counts = (await Promise.all(requests)).map((answer) => answer.prompt_eval_count);
    equal([...new Set(counts)].sort((a, b) => a - b), counts, "growing counts");
  },

  async stream_abort(place) {
    const client = connect(place);
    const request = ask(place, { messages: said(HELD_QUESTION), stream: true });
    const stream = await client.chat(request);
    const error = await refusalOf(async () => {
      for await (const frame of stream) {
        equal(false, frame.done, "done");
        stream.abort();
      }
    });
    equal("AbortError", error.name, "name of the error");
    check(checkChat(await client.chat(ask(place)), place), "text");
  },

  async stream_breaks_off(place) {
    const frames = [];
    const request = ask(place, { messages: said(BROKEN_QUESTION), stream: true });
    const error = await refusalOf(async () => {
      for await (const frame of await connect(place).chat(request)) frames.push(frame);
    });
    check(frames.length > 0, "frames before the break");
    // The client's own words for a stream that merely ends would say that nothing was reported.
    check(!/did not receive done/i.test(error.message), error.message);
    check(error.message && !error.message.includes("[object"), error.message);
  },
});
