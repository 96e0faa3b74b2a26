// Both task functions of Hugging Face's client for JavaScript: node huggingface.mjs URL IMAGE. Prints a JSON list of answers and errors.
import { readFile } from "node:fs/promises";
import { InferenceClient, zeroShotImageClassification } from "@huggingface/inference";

const [url, path] = process.argv.slice(2);
const bytes = await readFile(path);
const blob = new Blob([bytes], { type: "image/jpeg" });
const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
const parameters = { candidate_labels: ["a dog", "a cat"] };
const client = new InferenceClient("unused").endpoint(url);
const answers = [
  await client.zeroShotImageClassification({ inputs: blob, parameters }),
  await client.zeroShotImageClassification({ inputs: { image: blob }, parameters }),
  await client.zeroShotImageClassification({ inputs: { image: buffer }, parameters }),
  await zeroShotImageClassification({ endpointUrl: url, accessToken: "unused", inputs: blob, parameters }),
];
let error = "";
try {
  await client.zeroShotImageClassification({ inputs: blob, parameters: { candidate_labels: ["a dog, a cat"] } });
} catch (problem) {
  error = String(problem.message) + JSON.stringify(problem.httpResponse?.body ?? null);
}
console.log(JSON.stringify({ answers, error }));
