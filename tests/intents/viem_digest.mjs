// Reads typed data, one JSON a line, and prints the digest that viem makes of each.
import { readFileSync } from "node:fs";
import { hashTypedData } from "../../contracts/node_modules/viem/_esm/index.js";

for (const line of readFileSync(0, "utf8").split("\n")) {
  if (line !== "") console.log(hashTypedData(JSON.parse(line)));
}
