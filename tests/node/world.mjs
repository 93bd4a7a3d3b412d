// What the scripts share. The world (texts, models, where the gateway is) comes as JSON on standard input, from
// ../python/test_clients_node.py; each check's outcome goes out as a line of JSON.
import { readFileSync } from "node:fs";
import { z } from "zod";

export const world = JSON.parse(readFileSync(0, "utf8"));

export const Person = z.object({
  name: z.string().describe("of the person"),
  address: z.object({ city: z.string(), zip: z.string().nullable() }),
  tags: z.array(z.string()),
  age: z.number().int(),
});

// The tools, and what was asked of them.
export function tools() {
  const called = [];
  return {
    called,
    weather: ({ city }) => {
      called.push(["weather", { city }]);
      return `sunny in ${city}`;
    },
    time: () => {
      called.push(["time", {}]);
      return "noon";
    },
  };
}

// Runs the check with each of the models.
export async function check(name, models, body) {
  for (const model of models) {
    let error = null;
    try {
      await body(model);
    } catch (caught) {
      error = caught instanceof Error ? `${caught.name}: ${caught.message}\n${caught.stack}` : String(caught);
    }
    console.log(JSON.stringify({ check: name, model, error }));
  }
}
