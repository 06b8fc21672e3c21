// The Vercel AI SDK with @ai-sdk/openai, which uses the Responses API: text, tools, objects, reasoning, MCP servers.
// Run as `node ai_sdk.mjs BASE_URL`, beside a node_modules that has the libraries.

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

const [baseURL] = process.argv.slice(2);
const openai = createOpenAI({ baseURL, apiKey: "none" });
const model = openai("scripted");
const inputSchema = z.object({ city: z.string() });
const weather = tool({ description: "Weather", inputSchema, execute: async ({ city }) => `sunny ${city}` });
// The host has servers of these labels, and does not need the addresses that the SDK requires.
const server = (serverLabel) =>
  openai.tools.mcp({ serverLabel, serverUrl: "http://127.0.0.1:9/mcp", requireApproval: "never" });

async function kindsOf(options) {
  const errors = [];
  const stream = streamText({ model, ...options, onError: ({ error }) => errors.push(error) });
  const kinds = [];
  for await (const part of stream.fullStream) kinds.push(part.type);
  assert.deepEqual(errors, []);
  return kinds;
}

assert.equal((await generateText({ model, prompt: "/echo hi" })).text, "hi");
const stopWhen = isStepCount(4);
const agent = await generateText({ model, prompt: "two cities", tools: { weather }, stopWhen });
assert.equal(agent.text, "Sunny.");
assert.equal(agent.steps.length, 2);
assert.ok((await kindsOf({ prompt: "two cities", tools: { weather }, stopWhen })).includes("tool-result"));

const { object } = await generateObject({ model, prompt: '/echo {"city": "Rome"}', schema: inputSchema });
assert.deepEqual(object, { city: "Rome" });

const sealed = { reasoningSummary: "auto", store: false, include: ["reasoning.encrypted_content"] };
// The SDK asks for summaries of reasoning only where it knows the name.
const thinker = openai("gpt-5");
const thought = await generateText({ model: thinker, prompt: "think hard", providerOptions: { openai: sealed } });
assert.equal(thought.text, "Four.");
assert.equal(thought.reasoningText, "Let me see.");

const called = await generateText({ model, prompt: "both words", tools: { stub: server("stub") } });
assert.equal(called.text, "Both.");
assert.ok((await kindsOf({ prompt: "/call sdk_work {}", tools: { sdk: server("sdk") } })).includes("tool-result"));

const searching = await generateText({ model, prompt: "/echo hi", tools: { search: openai.tools.webSearch({}) } });
assert.equal(searching.text, "hi");

const first = await generateText({ model, prompt: "/echo a" });
const previousResponseId = first.providerMetadata.openai.responseId;
const options = { model, prompt: "/echo b", providerOptions: { openai: { previousResponseId } } };
assert.equal((await generateText(options)).text, "b");
