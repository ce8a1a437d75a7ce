// Writes the workflow: webhook (answers at once; the execution is in the database first) -> signature and mapping -> target.
const fs = require("fs"), path = require("path");
const [, , folder, target, secret] = process.argv;
const map = fs.readFileSync(path.join(__dirname, "../node-red/map.js"), "utf8");
const code = `
const crypto = require("crypto");
const item = $input.first();
const raw = Buffer.from(item.binary.data.data, "base64");
const want = crypto.createHmac("sha256", ${JSON.stringify(secret)}).update(raw).digest("base64");
if (want !== item.json.headers["x-shopify-hmac-sha256"]) throw new Error("bad signature");
const msg = { payload: JSON.parse(raw) };
const id = msg.payload.id;
${map}
return [{ json: { id, shipment: msg.payload } }];`;
const node = (name, type, typeVersion, parameters, more = {}) =>
  ({ id: name, name, type: "n8n-nodes-base." + type, typeVersion, position: [0, 0], parameters, ...more });
fs.writeFileSync(path.join(folder, "workflow.json"), JSON.stringify([{
  id: "orders", name: "orders", active: false,
  settings: { executionOrder: "v1", saveDataSuccessExecution: "none", saveExecutionProgress: false },
  nodes: [
    node("in", "webhook", 2, { httpMethod: "POST", path: "shop", responseMode: "onReceived", options: { rawBody: true } }, { webhookId: "shop" }),
    node("map", "code", 2, { mode: "runOnceForAllItems", jsCode: code }),
    node("send", "httpRequest", 4.2, {
      method: "POST", url: target + "/shipments", sendBody: true, specifyBody: "json", jsonBody: "={{ JSON.stringify($json.shipment) }}",
      sendHeaders: true, headerParameters: { parameters: [{ name: "idempotency-key", value: "=order-{{ $json.id }}" }] },
      options: { timeout: 10000 },
    }, { retryOnFail: true, maxTries: 5, waitBetweenTries: 2000 }),
  ],
  connections: {
    in: { main: [[{ node: "map", type: "main", index: 0 }]] },
    map: { main: [[{ node: "send", type: "main", index: 0 }]] },
  },
}]));
