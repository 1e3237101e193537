// What drivers beneath the Vercel AI SDK share, whichever package speaks to the gateway.

import { tool } from "ai";
import { z } from "zod";

import { QUESTION, TRADES, check, makePng } from "./scenarios.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

export const PERSON = z.object({
  name: z.string(),
  age: z.int(),
  trade: z.enum(TRADES),
  friends: z.array(z.string()),
});

/** Returns the tool for the weather, which notes in `calls` what it is called with. */
export function makeTools(calls) {
  return {
    get_weather: tool({
      description: "The weather in a city.",
      inputSchema: z.object({ city: z.string(), days: z.int().optional() }),
      execute: async (input) => {
        calls.push(input);
        return { degrees: 17 };
      },
    }),
  };
}

/** Returns messages with a question and a picture. */
export function picturedMessages() {
  const content = [
    { type: "text", text: QUESTION },
    { type: "image", image: makePng().toString("base64"), mediaType: "image/png" },
  ];
  return [{ role: "user", content }];
}

/** Returns the parts of a streamed answer; throws the error that is among them. */
export async function readParts(result) {
  const parts = [];
  for await (const part of result.fullStream) {
    if (part.type === "error") throw part.error;
    parts.push(part);
  }
  return parts;
}

/** Checks that thinking is streamed, and that all of it comes before the text. */
export function checkThinkingFirst(parts) {
  const kinds = parts.map((part) => part.type);
  const lastThought = kinds.lastIndexOf("reasoning-delta");
  check(0 <= lastThought && lastThought < kinds.indexOf("text-delta"), kinds.join(" "));
}
