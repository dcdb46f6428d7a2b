// Shows /v1/openapi.json. What the document says is only ever set as text.
"use strict";

const methods = ["get", "post", "put", "patch", "delete"];
let doc;

function add(parent, tag, text, cls) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (cls) node.className = cls;
  parent.append(node);
  return node;
}

// prose sets text in paragraphs, and what stands in backquotes as code.
function prose(parent, text) {
  for (const part of (text || "").split("\n\n")) {
    const p = add(parent, "p");
    part.split("`").forEach((piece, i) => {
      if (i % 2) add(p, "code", piece);
      else p.append(piece);
    });
  }
}

function resolve(schema) {
  const prefix = "#/components/schemas/";
  while (schema && schema.$ref && schema.$ref.startsWith(prefix)) {
    schema = doc.components.schemas[schema.$ref.slice(prefix.length)];
  }
  return schema || {};
}

function typeName(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.oneOf) return schema.oneOf.map(typeName).join(" or ");
  if (schema.type === "array") return "list of " + typeName(schema.items || {});
  if (schema.enum) return schema.enum.join(", ");
  return schema.title || schema.type || "any";
}

function bounds(schema) {
  const out = [];
  for (const key of ["minimum", "maximum", "maxLength", "maxItems", "default"]) {
    if (schema[key] !== undefined) out.push(key + " " + schema[key]);
  }
  if (schema.patternDescription) out.push(schema.patternDescription);
  return out.length ? " (" + out.join(", ") + ")" : "";
}

function item(list, name, schema, required, description) {
  const dt = add(list, "dt");
  add(dt, "code", name);
  dt.append(": " + typeName(schema) + bounds(schema) + (required ? ", required" : ""));
  if (description) add(list, "dd", description);
}

function properties(parent, schema) {
  const variants = schema.oneOf || [schema];
  for (const variant of variants) {
    const s = resolve(variant);
    if (!s.properties) continue;
    if (variants.length > 1) add(parent, "h4", s.title);
    const list = add(parent, "dl");
    for (const [name, prop] of Object.entries(s.properties)) {
      item(list, name, prop, (s.required || []).includes(name), prop.description);
    }
  }
}

function example(parent, media) {
  const values = media.examples ? Object.values(media.examples).map((e) => e.value) : [media.example];
  for (const v of values) {
    if (v === undefined) continue;
    add(parent, "pre", typeof v === "string" ? v : JSON.stringify(v, null, 2));
  }
}

function content(parent, types) {
  for (const [type, media] of Object.entries(types || {})) {
    const p = add(parent, "p");
    add(p, "code", type);
    if (media.schema && media.schema.$ref) p.append(" " + typeName(media.schema));
    if (!type.includes("problem")) {
      properties(parent, resolve(media.schema));
      example(parent, media);
    }
  }
}

function operation(parent, path, method, op) {
  const section = add(parent, "section");
  section.id = op.operationId;
  const h = add(section, "h3");
  add(h, "span", method.toUpperCase(), "method " + method.toUpperCase());
  h.append(" ");
  add(h, "code", path);
  add(section, "p", op.summary);
  prose(section, op.description);
  if (op.parameters) {
    add(section, "h4", "Parameters");
    const list = add(section, "dl");
    for (const p of op.parameters) item(list, p.name, p.schema, p.required, p.description);
  }
  if (op.requestBody) {
    add(section, "h4", "Body");
    prose(section, op.requestBody.description);
    content(section, op.requestBody.content);
  }
  add(section, "h4", "Answers");
  for (const [status, r] of Object.entries(op.responses)) {
    prose(section, "`" + status + "` " + (r.description || ""));
    if (status < 400) content(section, r.content);
  }
}

function show() {
  prose(document.getElementById("overview"), doc.info.description);
  const index = add(document.getElementById("index"), "ul");
  const all = document.getElementById("operations");
  all.textContent = "";
  for (const [path, item] of Object.entries(doc.paths)) {
    for (const method of methods) {
      const op = item[method];
      if (!op) continue;
      const link = add(add(index, "li"), "a", method.toUpperCase() + " " + path);
      link.href = "#" + op.operationId;
      operation(all, path, method, op);
    }
  }
}

fetch("/v1/openapi.json").then((r) => r.json()).then((d) => { doc = d; show(); }).catch(() => {
  document.getElementById("operations").textContent = "The OpenAPI document could not be loaded.";
});
