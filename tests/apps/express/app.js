// An ordinary Express service that knows nothing of telemetry; `weir run` observes it.
// The same routes as the Flask sample.
const express = require("express");

const app = express();

app.get("/hello/:name", (request, response) => response.json({ hello: request.params.name }));
app.get("/slow", (request, response) => setTimeout(() => response.json({ slow: true }), 120));
app.get("/fail", () => {
  throw new Error("the database said no");
});
app.get("/relay", async (request, response) => {
  const answer = await fetch(request.query.to);
  response.json({ relayed: answer.status });
});

app.listen(Number(process.env.PORT ?? 8082), "127.0.0.1");
