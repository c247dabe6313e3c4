"use strict";
// asks the service that this page came from, and nobody else

const at = (id) => document.getElementById(id);
const percent = (p) => `${(100 * p).toFixed(1)} %`;
let answered = null;
let counted = 0;

async function call(path, body) {
  const headers = { "content-type": "application/json" };
  if (at("key").value) headers.authorization = `Bearer ${at("key").value}`;
  const response = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers });
  const content = await response.json();
  if (response.ok || path === "readyz") return content;
  const detail = Array.isArray(content.detail)
    ? content.detail.map((fault) => `${fault.field}: ${fault.rule}`).join("; ")
    : content.detail;
  throw new Error(`${response.status}: ${detail}`);
}

async function attempt(work) {
  at("error").textContent = "";
  try {
    await work();
  } catch (error) {
    at("error").textContent = error.message;
  }
}

async function introduce() {
  const found = await call("readyz");
  const who = found.model_version ? `Version ${found.model_version} answers.` : "It answers who has a key.";
  at("who").textContent = found.ready ? who : "No version answers yet; reload in a moment.";
  at("labels").replaceChildren(...(found.labels ?? []).map((label) => new Option(label)));
}

function bar(label, probability) {
  const row = document.createElement("tr");
  const name = document.createElement("th");
  const progress = document.createElement("progress");
  name.scope = "row";
  name.textContent = label;
  progress.value = probability;
  progress.setAttribute("aria-label", label);
  row.append(name, document.createElement("td"), document.createElement("td"));
  row.children[1].append(progress);
  row.children[2].textContent = percent(probability);
  return row;
}

async function ask() {
  answered = await call("predict", { text: at("text").value });
  at("answer").hidden = false;
  at("label").textContent = answered.label;
  at("confidence").textContent = percent(answered.confidence);
  at("abstained").hidden = !answered.abstained;
  at("bars").replaceChildren(...Object.entries(answered.probabilities).map((p) => bar(...p)));
  at("prediction").textContent = answered.prediction_id;
  at("version").textContent = answered.model_version;
  at("given").textContent = answered.recorded ? "" : "This answer could not be recorded.";
  at("withdraw").disabled = true;
  at("accept").focus();
}

async function react(kind, value) {
  const given = { kind, prediction_id: answered.prediction_id, rater_id: at("rater").value };
  await call("feedback", value === undefined ? given : { ...given, value });
  counted += 1;
  const said = { accept: "right", reject: "wrong", correct: `rather ${value}`, withdraw: "taken back" };
  at("given").textContent = `Counted: ${said[kind]}. ${counted} feedback from this page; the next night reads it.`;
  at("withdraw").disabled = kind === "withdraw";
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(ask);
});
at("key").addEventListener("change", () => attempt(introduce));
for (const kind of ["accept", "reject", "withdraw"])
  at(kind).addEventListener("click", () => attempt(() => react(kind)));
at("correct").addEventListener("click", () => attempt(() => react("correct", at("labels").value)));
attempt(introduce);
