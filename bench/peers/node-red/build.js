// Writes the flow file: webhook -> signature -> answer; and -> mapping -> target; a failed delivery is tried again every second.
// Node-RED keeps messages in memory: there is no durable acceptance to configure.
const fs = require("fs"), path = require("path");
const [, , folder, target] = process.argv;
const map = fs.readFileSync(path.join(__dirname, "map.js"), "utf8");
const verify = `
const crypto = global.get("crypto");
const want = crypto.createHmac("sha256", env.get("HOOK_SECRET")).update(msg.payload).digest();
const got = Buffer.from(msg.req.headers["x-shopify-hmac-sha256"] || "", "base64");
if (want.length !== got.length || !crypto.timingSafeEqual(want, got)) { msg.statusCode = 401; msg.payload = ""; return [msg, null]; }
const order = JSON.parse(msg.payload);
const answer = { ...msg, statusCode: 200, payload: "" };
return [answer, { payload: order }];`;
const deliver = `${map}
msg.headers = { "content-type": "application/json", "idempotency-key": "order-" + o.id };
msg.order = o;
return msg;`;
const judge = "if (msg.statusCode >= 200 && msg.statusCode < 300) return null; msg.payload = msg.order; return msg;";
const node = (id, type, wires, more) => ({ id, z: "orders", type, x: 0, y: 0, wires, ...more });
const fn = (id, wires, func, outputs = 1) => node(id, "function", wires, { func, outputs, libs: [], initialize: "", finalize: "" });
fs.writeFileSync(path.join(folder, "flows.json"), JSON.stringify([
  { id: "orders", type: "tab", label: "orders" },
  node("in", "http in", [["verify"]], { url: "/hooks/shop", method: "post", upload: false, skipBodyParsing: true }),
  fn("verify", [["answer"], ["map"]], verify, 2),
  node("answer", "http response", [], {}),
  fn("map", [["send"]], deliver),
  node("send", "http request", [["judge"]], { method: "POST", ret: "txt", url: target + "/shipments", persist: true, senderr: true }),
  fn("judge", [["later"]], judge),
  node("failed", "catch", [["judge"]], { scope: ["send"] }),
  node("later", "delay", [["map"]], { pauseType: "delay", timeout: "1", timeoutUnits: "seconds" }),
]));
