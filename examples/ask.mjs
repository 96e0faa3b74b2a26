import { readFile } from "node:fs/promises";

const labels = ["a dog", "a cat", "food", "something else"];
const query = new URLSearchParams(labels.map((label) => ["labels", label]));
const response = await fetch(`${process.env.URL}?${query}`, {
  method: "POST",
  headers: { "Content-Type": "image/jpeg", "x-api-key": process.env.KEY ?? "" },
  body: await readFile("examples/images/dog.jpg"),
});
const answer = await response.json();
if (!response.ok) throw new Error(answer.message);
console.log(answer.result);
