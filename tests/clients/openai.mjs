// OpenAI's client for JavaScript: node openai.mjs URL KEY IMAGE. Prints its answers and errors as JSON.
import { readFile } from "node:fs/promises";
import OpenAI from "openai";

const [url, key, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}v1`, apiKey: "unused", maxRetries: 0, defaultHeaders: { "x-api-key": key } });
const picture = `data:image/jpeg;base64,${(await readFile(path)).toString("base64")}`;
const input = [{ type: "image_url", image_url: { url: picture } }];
const message = async (promise) => promise.then(() => "", (problem) => problem.message);
const moderation = await client.moderations.create({ model: "drawings", input });
const embeddings = await client.embeddings.create({ model: "demo", input: ["a dog", picture] });
const errors = [
  await message(client.moderations.create({ model: "nothing", input })),
  await message(client.moderations.create({ model: "drawings", input: "some text" })),
  await message(client.embeddings.create({ model: "text-embedding-3-small", input: "a dog" })),
];
console.log(JSON.stringify({ moderation, embeddings, errors }));
