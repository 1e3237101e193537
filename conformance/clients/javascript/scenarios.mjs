// What drivers in JavaScript share: scenarios by name, their command line, their lines, their
// questions. Nothing of any client is known here.
//
// `node DRIVER.mjs URL CHAT EMBEDDING [NAME...]` prints one JSON line per scenario, with `name`,
// `ok` and `detail`, as the drivers in Python do.

import { deflateSync } from "node:zlib";

export const QUESTION = "What grows in the orchard behind the harbour? Answer in two sentences.";
export const WEATHER_QUESTION = "What is the weather in Lisbon? Use the tool get_weather.";
export const TWO_QUESTION = "Use get_weather for Lisbon and get_time for the zone CET, both of them.";
export const PERSON_QUESTION = "Describe a keeper of a lighthouse named Ada.";
/** A question whose answer takes long: the tests let the stand-in keep it back. */
export const HELD_QUESTION = `[hold] ${QUESTION}`;
/** A question whose answer breaks off: the tests let the stand-in close its connection. */
export const BROKEN_QUESTION = `[break] ${QUESTION}`;
/** A question whose answer comes bit by bit: the tests let the stand-in pause between events. */
export const SLOW_QUESTION = `[slow] ${QUESTION}`;
export const MISSING_MODEL = "nobody/has-this-model:7b";
const TIME_LIMIT_MS = 30_000;

export const TRADES = ["keeper", "sailor", "cook"];

/** Throws unless a condition holds; `what` says what was found. */
export function check(holds, what) {
  if (!holds) throw new Error(`not so: ${what}`);
}

/** Throws unless two values are the same as JSON. */
export function equal(expected, actual, what) {
  const [wanted, found] = [JSON.stringify(expected), JSON.stringify(actual)];
  check(wanted === found, `${what} is ${wanted}, it is ${found}`);
}

export function isCount(value) {
  return Number.isSafeInteger(value) && value > 0;
}

/** Checks an instance of the schema of a person: name, age, trade, friends and nothing else. */
export function checkPerson(person) {
  equal(["age", "friends", "name", "trade"], Object.keys(person).sort(), "keys");
  check(typeof person.name === "string", `name ${JSON.stringify(person.name)}`);
  check(Number.isInteger(person.age), `age ${JSON.stringify(person.age)}`);
  check(TRADES.includes(person.trade), `trade ${JSON.stringify(person.trade)}`);
  check(Array.isArray(person.friends), `friends ${JSON.stringify(person.friends)}`);
  check(person.friends.every((one) => typeof one === "string"), JSON.stringify(person.friends));
}

/** Returns a picture of one grey pixel. */
export function makePng() {
  const chunk = (kind, data) => {
    const content = Buffer.concat([Buffer.from(kind), data]);
    const frame = Buffer.alloc(content.length + 8);
    frame.writeUInt32BE(data.length, 0);
    content.copy(frame, 4);
    frame.writeUInt32BE(crc32(content), content.length + 4);
    return frame;
  };
  const head = Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
  const mark = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const pixels = chunk("IDAT", deflateSync(Buffer.from([0, 0x80])));
  return Buffer.concat([mark, chunk("IHDR", head), pixels, chunk("IEND", Buffer.alloc(0))]);
}

function crc32(data) {
  let rest = 0xffffffff;
  for (const byte of data) {
    rest ^= byte;
    for (let bit = 0; bit < 8; bit += 1) rest = (rest >>> 1) ^ (rest & 1 ? 0xedb88320 : 0);
  }
  return (rest ^ 0xffffffff) >>> 0;
}

/** Asks again until something holds: a server may unload a model after it has answered. */
export async function waitUntil(holds) {
  const deadline = Date.now() + TIME_LIMIT_MS;
  while (!(await holds())) {
    check(Date.now() < deadline, `it came to hold within ${TIME_LIMIT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Returns all that a stream yields, in a list. */
export async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

/** Returns what an action throws; the client must see an error. */
export async function refusalOf(action) {
  try {
    await action();
  } catch (error) {
    return error;
  }
  throw new Error("not so: no error was thrown");
}

/** Runs the scenarios that the command line names, by default all, and sets the exit code. */
export async function main(scenarios) {
  const [url, chat, embedding, ...names] = process.argv.slice(2);
  if (!embedding) {
    console.error("usage: node DRIVER.mjs URL CHAT EMBEDDING [NAME...]");
    process.exit(2);
  }
  for (const name of names.length ? names : Object.keys(scenarios)) {
    if (!scenarios[name]) {
      console.error(`no scenario ${name}; there are ${Object.keys(scenarios).join(", ")}`);
      process.exit(2);
    }
    const detail = await run(scenarios[name], { url, chat, embedding });
    console.log(JSON.stringify({ name, ok: detail === "", detail }));
    if (detail) process.exitCode = 1;
  }
}

async function run(scenario, place) {
  let timer;
  const tooLate = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("no end within the time limit")), TIME_LIMIT_MS);
  });
  try {
    await Promise.race([scenario(place), tooLate]);
    return "";
  } catch (error) {
    return String(error?.stack ?? error).slice(0, 1000);
  } finally {
    clearTimeout(timer);
  }
}
