module.exports = {
  uiPort: Number(process.env.PORT),
  uiHost: "127.0.0.1",
  flowFile: "flows.json",
  httpAdminRoot: false,
  functionGlobalContext: { crypto: require("crypto") },
  httpRequestTimeout: 10000,
  logging: { console: { level: "warn", metrics: false, audit: false } },
  telemetry: { enabled: false },
};
