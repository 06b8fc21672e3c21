// OpenAI's library for Node.js with images: made, edited with files, streamed with unfinished ones, refused.
// Run as `node openai_node_images.mjs BASE_URL`, beside a node_modules that has the library.

import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";

const [url] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
const asked = { model: "scripted", prompt: "/echo one two three", size: "64x64" };
const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const shown = (image) => Buffer.from(image.b64_json, "base64").subarray(SIGNATURE.length).toString();
const file = (name) => toFile(SIGNATURE, name, { type: "image/png" });

async function streamed(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

const made = await client.images.generate({ ...asked, n: 2, response_format: "b64_json" });
assert.deepEqual(made.data.map(shown), ["one two three", "one two three 1"]);
assert.equal(made.usage.input_tokens, 4);

const stored = await client.images.generate({ ...asked, response_format: "url", output_format: "webp" });
const fetched = await fetch(stored.data[0].url);
assert.equal(fetched.headers.get("content-type"), "image/webp");

const edited = await client.images.edit({ ...asked, image: await file("a.png"), mask: await file("mask.png"), n: 1 });
assert.equal(shown(edited.data[0]), "one two three");
const listed = await client.images.edit({ ...asked, image: [await file("a.png")] });
assert.equal(shown(listed.data[0]), "one two three");

const events = await streamed(await client.images.generate({ ...asked, stream: true, partial_images: 2 }));
const partial = events.filter((event) => event.type === "image_generation.partial_image");
assert.deepEqual(partial.map((event) => [event.partial_image_index, shown(event)]), [[0, "one"], [1, "one two"]]);
assert.equal(events.at(-1).type, "image_generation.completed");
assert.equal(events.length, 3);
assert.equal(shown(events.at(-1)), "one two three");

const edits = await streamed(await client.images.edit({ ...asked, image: await file("a.png"), stream: true }));
assert.equal(edits.at(-1).type, "image_edit.completed");

await assert.rejects(client.images.generate({ ...asked, size: "66x64" }), OpenAI.BadRequestError);
await assert.rejects(client.images.createVariation({ image: await file("a.png") }), OpenAI.BadRequestError);
