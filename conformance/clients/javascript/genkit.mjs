// Drives genkitx-ollama, Genkit's plugin. It takes what one read of a stream gives for one whole
// frame, and Node joins what one read of the socket gives (docs/facts/clients.md#whole-frames). So
// the answers here come bit by bit. It has no way to leave an answer.

import { genkit, z } from "genkit";
import { logger } from "genkit/logging";
import { ollama } from "genkitx-ollama";

import {
  BROKEN_QUESTION,
  MISSING_MODEL,
  QUESTION,
  SLOW_QUESTION,
  WEATHER_QUESTION,
  check,
  equal,
  main,
  makePng,
  refusalOf,
} from "./scenarios.mjs";

// It would look for files of an application, and tell the world of each request.
process.env.GENKIT_ENV = "prod";
logger.setLogLevel("error");

function connect(place, name = place.chat, type = "chat") {
  return genkit({
    plugins: [
      ollama({
        serverAddress: place.url,
        models: [{ name, type, supports: { tools: true } }],
        embedders: [{ name: place.embedding, dimensions: 8 }],
      }),
    ],
    model: ollama.model(name),
  });
}

function addWeather(ai, calls) {
  return ai.defineTool(
    {
      name: "get_weather",
      description: "The weather in a city.",
      inputSchema: z.object({ city: z.string() }),
      outputSchema: z.string(),
    },
    async (input) => {
      calls.push(input);
      return "17";
    },
  );
}

/** Returns the pieces of a stream and the whole answer. */
async function read({ stream, response }) {
  const pieces = [];
  // Whoever fails tells twice; both are awaited, so that neither is left over.
  const whole = response.then(
    (answer) => ({ answer }),
    (error) => ({ error }),
  );
  for await (const chunk of stream) pieces.push(chunk.text);
  const { answer, error } = await whole;
  if (error) throw error;
  return { pieces, answer };
}

await main({
  async list(place) {
    const actions = await connect(place).registry.listResolvableActions();
    const found = Object.keys(actions).filter((name) => name.includes(place.chat));
    check(found.length > 0, Object.keys(actions).join(" "));
  },

  async generate(place) {
    const answer = await connect(place).generate({ system: "Be brief.", prompt: QUESTION });
    check(answer.text, "text");
  },

  async stream(place) {
    const { pieces, answer } = await read(connect(place).generateStream(SLOW_QUESTION));
    check(pieces.filter(Boolean).length > 2, `${pieces.length} pieces`);
    equal(pieces.join(""), answer.text, "whole text");
  },

  async options(place) {
    const config = { temperature: 0, topK: 40, topP: 0.9, maxOutputTokens: 4 };
    const limited = await connect(place).generate({ prompt: QUESTION, config });
    const whole = await connect(place).generate(QUESTION);
    check(limited.text.length < whole.text.length, limited.text);
  },

  async stop(place) {
    const config = { stopSequences: ["END"] };
    check((await connect(place).generate({ prompt: QUESTION, config })).text, "text");
  },

  async turns(place) {
    const messages = [
      { role: "user", content: [{ text: "My name is Ada." }] },
      { role: "model", content: [{ text: "Good day." }] },
    ];
    check((await connect(place).generate({ messages, prompt: QUESTION })).text, "text");
  },

  async tools_roundtrip(place) {
    const calls = [];
    const ai = connect(place);
    const answer = await ai.generate({
      prompt: WEATHER_QUESTION,
      tools: [addWeather(ai, calls)],
    });
    check(answer.text, "text");
    equal(1, calls.length, "number of calls");
    equal("string", typeof calls[0].city, "type of city");
  },

  async vision(place) {
    const url = `data:image/png;base64,${makePng().toString("base64")}`;
    const prompt = [{ text: QUESTION }, { media: { url, contentType: "image/png" } }];
    check((await connect(place).generate({ prompt })).text, "text");
  },

  async prompt(place) {
    const ai = connect(place, place.chat, "generate");
    check((await ai.generate(QUESTION)).text, "text");
    const { pieces } = await read(ai.generateStream(SLOW_QUESTION));
    check(pieces.filter(Boolean).length > 2, `${pieces.length} pieces`);
  },

  async embed(place) {
    const embedder = ollama.embedder(place.embedding);
    for (const content of ["harbour", "a lantern in the fog"]) {
      const [{ embedding }] = await connect(place).embed({ embedder, content });
      check(Math.abs(Math.hypot(...embedding) - 1) < 1e-3, "length");
    }
  },

  async missing_model(place) {
    const error = await refusalOf(() => connect(place, MISSING_MODEL).generate(QUESTION));
    check(String(error).includes("not found"), String(error));
  },

  async missing_model_stream(place) {
    const ai = connect(place, MISSING_MODEL);
    const error = await refusalOf(() => read(ai.generateStream(QUESTION)));
    check(String(error).includes("not found"), String(error));
  },

  async stream_breaks_off(place) {
    const error = await refusalOf(() => read(connect(place).generateStream(BROKEN_QUESTION)));
    // Words of its own would be those of a line that cannot be read.
    check(!/JSON/.test(String(error)), String(error));
  },
});
