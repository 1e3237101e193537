// Drives the official SDK of the OpenAI dialect, below /v1. It asks for vectors in base64 unless it
// is told otherwise, and makes numbers of them itself (docs/facts/lmstudio.md#embeddings-base64).

import OpenAI from "openai";

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
  collect,
  checkPerson,
  equal,
  isCount,
  main,
  makePng,
  refusalOf,
} from "./scenarios.mjs";

const connect = (place) =>
  new OpenAI({ baseURL: `${place.url}/v1`, apiKey: "ollama", maxRetries: 0 });

const ask = (place, content, more) =>
  connect(place).chat.completions.create({
    model: place.chat,
    messages: [{ role: "user", content }],
    ...more,
  });

const makeTool = (name, property) => ({
  type: "function",
  function: {
    name,
    parameters: {
      type: "object",
      properties: { [property]: { type: "string" } },
      required: [property],
    },
  },
});
const TOOLS = [makeTool("get_weather", "city"), makeTool("get_time", "zone")];

const PERSON = {
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

const deltasOf = (chunks) => chunks.flatMap((chunk) => chunk.choices.map((one) => one.delta));

function checkUsage(usage) {
  check(isCount(usage.prompt_tokens) && isCount(usage.completion_tokens), JSON.stringify(usage));
}

await main({
  async models(place) {
    const client = connect(place);
    const listed = await collect(client.models.list());
    const wanted = listed.find((one) => one.id.startsWith(place.chat));
    check(wanted, listed.map((one) => one.id).join(" "));
    check(listed.every((one) => isCount(one.created)), "each was created some time");
    equal(wanted.id, (await client.models.retrieve(wanted.id)).id, "retrieved");
    const error = await refusalOf(() => client.models.retrieve(MISSING_MODEL));
    check(error instanceof OpenAI.NotFoundError, String(error));
  },

  async chat(place) {
    const answer = await ask(place, QUESTION);
    check(answer.choices[0].message.content, "text");
    equal("stop", answer.choices[0].finish_reason, "finish reason");
    checkUsage(answer.usage);
  },

  async chat_stream(place) {
    const more = { stream: true, stream_options: { include_usage: true } };
    const chunks = await collect(await ask(place, QUESTION, more));
    check(deltasOf(chunks).filter((delta) => delta.content).length > 2, "several deltas");
    checkUsage(chunks.at(-1).usage);
    const reasons = chunks.flatMap((chunk) => chunk.choices.map((one) => one.finish_reason));
    equal(["stop"], reasons.filter(Boolean), "finish reasons");
  },

  async chat_stream_helper(place) {
    const runner = connect(place).chat.completions.stream({
      model: place.chat,
      messages: [{ role: "user", content: QUESTION }],
    });
    const told = [];
    runner.on("content", (delta) => told.push(delta));
    const whole = await runner.finalContent();
    equal(told.join(""), whole, "whole text");
    check(told.length > 2, "several deltas");
  },

  async options(place) {
    const more = { max_tokens: 4, temperature: 0, seed: 7, reasoning_effort: "none" };
    equal("length", (await ask(place, QUESTION, more)).choices[0].finish_reason, "finish reason");
  },

  async tools_roundtrip(place) {
    const messages = [{ role: "user", content: TWO_QUESTION }];
    const { choices } = await ask(place, TWO_QUESTION, { tools: TOOLS });
    equal("tool_calls", choices[0].finish_reason, "finish reason");
    const calls = choices[0].message.tool_calls;
    equal(["get_time", "get_weather"], calls.map((one) => one.function.name).sort(), "calls");
    messages.push(choices[0].message);
    for (const call of calls) {
      JSON.parse(call.function.arguments);
      messages.push({ role: "tool", tool_call_id: call.id, content: "17" });
    }
    const answer = await ask(place, "", { tools: TOOLS, messages });
    check(answer.choices[0].message.content, "text");
  },

  async tools_stream(place) {
    const runner = connect(place).chat.completions.stream({
      model: place.chat,
      messages: [{ role: "user", content: WEATHER_QUESTION }],
      tools: TOOLS.slice(0, 1),
    });
    const message = await runner.finalMessage();
    equal(1, message.tool_calls.length, "number of calls");
    equal("get_weather", message.tool_calls[0].function.name, "name");
    equal("string", typeof JSON.parse(message.tool_calls[0].function.arguments).city, "city");
  },

  async tools_runner(place) {
    const asked = [];
    const runner = connect(place).chat.completions.runTools({
      model: place.chat,
      messages: [{ role: "user", content: WEATHER_QUESTION }],
      tools: [
        {
          type: "function",
          function: {
            ...TOOLS[0].function,
            parse: JSON.parse,
            function: async (input) => {
              asked.push(input);
              return "17";
            },
          },
        },
      ],
    });
    check(await runner.finalContent(), "text");
    equal(1, asked.length, "number of calls");
  },

  async format_schema(place) {
    const schema = { name: "person", schema: PERSON, strict: true };
    const format = { type: "json_schema", json_schema: schema };
    const answer = await ask(place, PERSON_QUESTION, { response_format: format });
    checkPerson(JSON.parse(answer.choices[0].message.content));
  },

  async vision(place) {
    const url = `data:image/png;base64,${makePng().toString("base64")}`;
    const parts = [
      { type: "text", text: QUESTION },
      { type: "image_url", image_url: { url } },
    ];
    const [plain, seen] = [await ask(place, QUESTION), await ask(place, parts)];
    check(seen.usage.prompt_tokens > plain.usage.prompt_tokens, "the picture counts");
  },

  async responses(place) {
    const client = connect(place);
    const wish = { model: place.chat, input: QUESTION };
    check((await client.responses.create(wish)).output_text, "text");
    const events = await collect(await client.responses.create({ ...wish, stream: true }));
    check(events.some((one) => one.type === "response.output_text.delta"), "deltas");
    equal("response.completed", events.at(-1).type, "last event");
  },

  async completions(place) {
    const prompt = "The lighthouse stood on";
    const answer = await connect(place).completions.create({ model: place.chat, prompt });
    check(answer.choices[0].text, "text");
  },

  async embed(place) {
    const wish = { model: place.embedding, input: ["harbour", "a lantern in the fog"] };
    const client = connect(place);
    const ours = (await client.embeddings.create(wish)).data.map((one) => one.embedding);
    const plain = await client.embeddings.create({ ...wish, encoding_format: "float" });
    equal(wish.input.length, ours.length, "number of vectors");
    for (const [place, { embedding }] of plain.data.entries()) {
      // What base64 holds are floats of 32 bits.
      equal([...Float32Array.from(embedding)], [...Float32Array.from(ours[place])], "vector");
      check(Math.hypot(...ours[place]) > 0, "a length");
    }
  },

  async missing_model(place) {
    const error = await refusalOf(() => ask(place, QUESTION, { model: MISSING_MODEL }));
    check(error instanceof OpenAI.NotFoundError, String(error));
    check(error.message.includes("not found"), error.message);
    const stream = { model: MISSING_MODEL, stream: true };
    equal(404, (await refusalOf(() => ask(place, QUESTION, stream))).status, "status");
    const wish = { model: MISSING_MODEL, input: "harbour" };
    equal(404, (await refusalOf(() => connect(place).embeddings.create(wish))).status, "status");
  },

  async stream_abort(place) {
    const stream = await ask(place, HELD_QUESTION, { stream: true });
    for await (const chunk of stream) {
      check(chunk.choices, "a chunk");
      break;
    }
    check((await ask(place, QUESTION)).choices[0].message.content, "text");
  },

  async stream_breaks_off(place) {
    await refusalOf(async () => collect(await ask(place, BROKEN_QUESTION, { stream: true })));
  },
});
