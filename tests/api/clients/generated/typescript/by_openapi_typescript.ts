// Orders, looks up and lists, and prints what it read.
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { env: Record<string, string> };

const client = createClient<paths>({
  baseUrl: process.env.RELAY_URL,
  headers: { Authorization: `Bearer ${process.env.RELAY_KEY}` },
});

async function read<T>(answer: Promise<{ data?: T; error?: unknown }>): Promise<T> {
  const { data, error } = await answer;
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

const body = { prompt: "a rabbit", duration: "10" as const };
const quoted = { operation: "videos/text2video" as const, ...body };
const quote = await read(client.POST("/v1/quotes", { body: quoted }));
const ordered = (await read(client.POST("/kling/v1/videos/text2video", { body }))).data;
const path = { task: ordered.task_id };
const detail = await read(client.GET("/v1/tasks/{task}", { params: { path, query: { wait: 20 } } }));
const shown = (await read(client.GET("/kling/v1/videos/text2video/{task}", { params: { path } }))).data;
const listed = (await read(client.GET("/kling/v1/videos/text2video", { params: { query: { pageSize: 5 } } }))).data;
const since = "2026-01-01T00:00:00Z";
const tasks = (await read(client.GET("/v1/tasks", { params: { query: { since, status: ["succeed"] } } }))).data;

console.log(
  JSON.stringify({
    quoted: quote.amount,
    task_id: ordered.task_id,
    created_at: ordered.created_at,
    charged: detail.charge.charged,
    expires_at: detail.expires_at,
    external_task_id: detail.external_task_id,
    submission: detail.submission,
    task_status: shown.task_status,
    listed: listed[0].task_id,
    found: tasks[0].task_id,
  }),
);
