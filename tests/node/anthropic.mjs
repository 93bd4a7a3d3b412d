// The official Anthropic SDK for JavaScript.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";
import { check, Person, tools, world } from "./world.mjs";

const client = new Anthropic({ apiKey: world.key, baseURL: world.url, maxRetries: 0, timeout: 20_000 });
const user = (content) => [{ role: "user", content }];

await check("create and stream", world.all, async (model) => {
  const request = { model, max_tokens: 999, messages: user("hi") };
  const answer = await client.messages.create(request);
  assert.equal(answer.content.at(-1).text, world.text);
  const stream = client.messages.stream(request);
  let text = "";
  stream.on("text", (delta) => (text += delta));
  const final = await stream.finalMessage();
  assert.equal(text, world.text);
  assert.equal(final.content.at(-1).text, world.text);
  assert.equal(final.stop_reason, "end_turn");
  assert.equal(final.usage.output_tokens, 25);
});

for (const stream of [false, true]) {
  for (const thinking of [undefined, { type: "enabled", budget_tokens: 2048 }]) {
    // The newest of Anthropic's refuse a budget; there the request is passed on as it is.
    const models = world.all.filter((model) => !thinking || model !== "claude-new");
    await check(`toolRunner, stream ${stream}, thinking ${!!thinking}`, models, async (model) => {
      const { called, weather, time } = tools();
      const runner = client.beta.messages.toolRunner({
        model,
        max_tokens: 4000,
        messages: user(world.script),
        stream,
        ...(thinking ? { thinking } : {}),
        tools: [
          betaZodTool({ name: "weather", description: "the weather", inputSchema: z.object({ city: z.string() }), run: weather }),
          betaZodTool({ name: "time", description: "the time", inputSchema: z.object({}), run: time }),
        ],
      });
      const answer = await runner.runUntilDone();
      assert.equal(answer.content.at(-1).text, world.report);
      assert.deepEqual(called, world.called);
    });
  }
}

await check("parse", world.all, async (model) => {
  const output_config = { format: zodOutputFormat(Person) };
  const answer = await client.messages.parse({ model, max_tokens: 999, messages: user(world.address), output_config });
  assert.deepEqual(answer.parsed_output, world.person);
});

await check("countTokens", world.all, async (model) => {
  const count = await client.messages.countTokens({ model, messages: user("hi") });
  assert(count.input_tokens > 0);
});

await check("failures", world.wires, async (model) => {
  for (const fault of ["error", "cut", "eof"]) {
    const stream = client.messages.stream({ model, max_tokens: 99, messages: user(`<<${fault}>>`) });
    await assert.rejects(stream.finalMessage(), Anthropic.APIError);
  }
});
