// The official OpenAI SDK for JavaScript.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { check, Person, tools, world } from "./world.mjs";

const client = new OpenAI({ apiKey: world.key, baseURL: `${world.url}/v1`, maxRetries: 0, timeout: 20_000 });
const user = (content) => [{ role: "user", content }];
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

await check("create", world.all, async (model) => {
  const answer = await client.chat.completions.create({ model, messages: user("hi") });
  assert.equal(answer.choices[0].message.content, world.text);
  assert.equal(answer.usage.total_tokens, 145);
});

await check("stream", world.all, async (model) => {
  const stream = client.chat.completions.stream({ model, messages: user("hi"), stream_options: { include_usage: true } });
  let text = "";
  stream.on("content", (delta) => (text += delta));
  assert.equal(await stream.finalContent(), world.text);
  assert.equal(text, world.text);
  assert.equal((await stream.totalUsage()).total_tokens, 145);
});

for (const stream of [false, true]) {
  await check(`runTools, stream ${stream}`, world.mild, async (model) => {
    const { called, weather, time } = tools();
    const runner = client.chat.completions.runTools({
      model,
      messages: user(world.script),
      stream,
      tools: [
        { type: "function", function: { name: "weather", description: "the weather", parameters: city, parse: JSON.parse, function: weather } },
        { type: "function", function: { name: "time", description: "the time", parameters: { type: "object", properties: {} }, parse: JSON.parse, function: time } },
      ],
    });
    assert.equal(await runner.finalContent(), world.report);
    assert.deepEqual(called, world.called);
  });
}

await check("parse", world.all, async (model) => {
  const response_format = zodResponseFormat(Person, "person");
  const answer = await client.chat.completions.parse({ model, messages: user(world.address), response_format });
  assert.deepEqual(answer.choices[0].message.parsed, world.person);
  const stream = client.chat.completions.stream({ model, messages: user(world.address), response_format });
  assert.deepEqual((await stream.finalChatCompletion()).choices[0].message.parsed, world.person);
});

await check("failures", world.wires, async (model) => {
  for (const fault of ["error", "cut", "eof"]) {
    await assert.rejects(async () => {
      const stream = await client.chat.completions.create({ model, messages: user(`<<${fault}>>`), stream: true });
      for await (const chunk of stream) assert.equal(chunk.choices[0].finish_reason, null);
    }, OpenAI.APIError);
  }
});

await check("embeddings", world.vectors, async (model) => {
  const answer = await client.embeddings.create({ model, input: ["one", "two"] });
  assert.deepEqual(answer.data.map((entry) => entry.embedding.length), [4, 4]);
  const plain = await client.embeddings.create({ model, input: "one", encoding_format: "float" });
  answer.data[0].embedding.forEach((value, place) => assert(Math.abs(value - plain.data[0].embedding[place]) < 1e-6));
});
