// Drives @llamaindex/ollama, which holds an old release of the official client: its stream decoder
// garbles characters that are cut, and it asks for vectors the old way
// (docs/facts/clients.md#whole-frames, docs/facts/clients.md#older-embeddings). Its streams take no
// abort and keep tool calls to themselves, so no scenario has either.

import { Ollama, OllamaEmbedding } from "@llamaindex/ollama";

import { BROKEN_QUESTION, MISSING_MODEL, QUESTION, WEATHER_QUESTION, check, collect, equal, main, makePng, refusalOf } from "./scenarios.mjs";

const connect = (place, model = place.chat) => new Ollama({ model, config: { host: place.url } });
const messages = (content) => [{ role: "user", content }];
const WEATHER = {
  call: async () => "17",
  metadata: {
    name: "get_weather",
    description: "The weather in a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

await main({
  async chat(place) {
    check((await connect(place).chat({ messages: messages(QUESTION) })).message.content, "text");
  },

  async chat_stream(place) {
    const chunks = await collect(await connect(place).chat({ messages: messages(QUESTION), stream: true }));
    check(chunks.filter((chunk) => chunk.delta).length > 2, "several chunks");
  },

  async complete(place) {
    check((await connect(place).complete({ prompt: QUESTION })).text, "text");
  },

  async complete_stream(place) {
    const chunks = await collect(await connect(place).complete({ prompt: QUESTION, stream: true }));
    check(chunks.filter((chunk) => chunk.text).length > 2, "several chunks");
  },

  async tools(place) {
    const answer = await connect(place).chat({ messages: messages(WEATHER_QUESTION), tools: [WEATHER] });
    const calls = answer.message.options.toolCall;
    equal(["get_weather"], calls.map((call) => call.name), "calls");
  },

  async tools_roundtrip(place) {
    const client = connect(place);
    const asked = messages(WEATHER_QUESTION);
    const first = await client.chat({ messages: asked, tools: [WEATHER] });
    const [call] = first.message.options.toolCall;
    const toolResult = { id: call.id, result: "17", isError: false };
    const result = { role: "user", content: "17", options: { toolResult } };
    const second = await client.chat({ messages: [...asked, first.message, result], tools: [WEATHER] });
    check(second.message.content, "text");
  },

  async vision(place) {
    const url = `data:image/png;base64,${makePng().toString("base64")}`;
    const content = [
      { type: "text", text: QUESTION },
      { type: "image_url", image_url: { url } },
    ];
    check((await connect(place).chat({ messages: messages(content) })).message.content, "text");
  },

  async embeddings_legacy(place) {
    const model = new OllamaEmbedding({ model: place.embedding, config: { host: place.url } });
    const vector = await model.getTextEmbedding("harbour");
    check(vector.length > 0 && vector.some((value) => value), "a vector");
  },

  async missing_model(place) {
    const error = await refusalOf(() => connect(place, MISSING_MODEL).chat({ messages: messages(QUESTION) }));
    check(String(error).includes("not found"), String(error));
  },

  async missing_embed_model(place) {
    const model = new OllamaEmbedding({ model: MISSING_MODEL, config: { host: place.url } });
    const error = await refusalOf(() => model.getTextEmbedding("harbour"));
    check(String(error).includes("not found"), String(error));
  },

  async stream_breaks_off(place) {
    const stream = async () => connect(place).chat({ messages: messages(BROKEN_QUESTION), stream: true });
    const error = await refusalOf(async () => collect(await stream()));
    check(!/did not receive done/i.test(String(error)), String(error));
  },
});
