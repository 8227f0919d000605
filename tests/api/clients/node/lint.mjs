// Reads an OpenAPI document from standard input, and prints the rules of Redocly's recommended set that it breaks.
import { createConfig, lintFromString } from "@redocly/openapi-core";

let source = "";
for await (const chunk of process.stdin) source += chunk;
const problems = await lintFromString({ source, config: await createConfig({ extends: ["recommended"] }) });
const errors = problems.filter(({ severity }) => severity === "error");
process.stdout.write(JSON.stringify([...new Set(errors.map(({ ruleId }) => ruleId))]));
