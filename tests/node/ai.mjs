// Vercel's AI SDK with its providers for OpenAI (chat) and Anthropic.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { embedMany, generateText, isStepCount, Output, streamText, tool } from "ai";
import { z } from "zod";
import { check, Person, tools, world } from "./world.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const openai = createOpenAI({ apiKey: world.key, baseURL: `${world.url}/v1` });
const anthropic = createAnthropic({ apiKey: world.key, baseURL: `${world.url}/v1` });
const dialects = { openai: (model) => openai.chat(model), anthropic: (model) => anthropic(model) };

function agent(model) {
  const { called, weather, time } = tools();
  const own = {
    weather: tool({ description: "the weather", inputSchema: z.object({ city: z.string() }), execute: weather }),
    time: tool({ description: "the time", inputSchema: z.object({}), execute: time }),
  };
  return [called, { model, prompt: world.script, tools: own, stopWhen: isStepCount(6), maxRetries: 0 }];
}

for (const [dialect, provider] of Object.entries(dialects)) {
  // Where nothing is converted, a model that wants its reasoning back misses it.
  const models = dialect === "openai" ? world.mild : world.all;

  await check(`${dialect}: generateText`, world.all, async (model) => {
    const answer = await generateText({ model: provider(model), prompt: "hi", maxRetries: 0 });
    assert.equal(answer.text, world.text);
    assert.equal(answer.finishReason, "stop");
    assert.equal(answer.usage.outputTokens, 25);
    assert.equal(answer.usage.inputTokens, 120);
  });

  await check(`${dialect}: streamText`, world.all, async (model) => {
    const answer = streamText({ model: provider(model), prompt: "hi", maxRetries: 0 });
    let text = "";
    for await (const delta of answer.textStream) text += delta;
    assert.equal(text, world.text);
    assert.equal((await answer.usage).outputTokens, 25);
  });

  await check(`${dialect}: tools in steps`, models, async (model) => {
    const [called, request] = agent(provider(model));
    const answer = await generateText(request);
    assert.equal(answer.text, world.report);
    assert.deepEqual(called, world.called);
    assert.equal(answer.steps.length, 3);
  });

  await check(`${dialect}: tools in streamed steps`, models, async (model) => {
    const [called, request] = agent(provider(model));
    const answer = streamText(request);
    await answer.consumeStream();
    assert.equal(await answer.text, world.report);
    assert.deepEqual(called, world.called);
    assert.equal((await answer.steps).length, 3);
  });

  await check(`${dialect}: object`, world.all, async (model) => {
    const request = { model: provider(model), prompt: world.address, output: Output.object({ schema: Person }), maxRetries: 0 };
    assert.deepEqual((await generateText(request)).output, world.person);
    const streamed = streamText(request);
    await streamed.consumeStream();
    assert.deepEqual(await streamed.output, world.person);
  });

  await check(`${dialect}: failures`, world.wires, async (model) => {
    for (const fault of ["error", "cut", "eof"]) {
      const errors = [];
      const answer = streamText({ model: provider(model), prompt: `<<${fault}>>`, maxRetries: 0, onError: ({ error }) => errors.push(error) });
      await answer.consumeStream();
      assert.equal(errors.length, 1, `${fault} went unnoticed`);
    }
  });
}

await check("embedMany", world.vectors, async (model) => {
  const { embeddings } = await embedMany({ model: openai.embedding(model), values: ["one", "two"], maxRetries: 0 });
  assert.deepEqual(embeddings.map((one) => one.length), [4, 4]);
});
