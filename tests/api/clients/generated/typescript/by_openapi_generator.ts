// Orders, looks up and lists with the client that openapi-generator makes (typescript-fetch), and prints what it read.
import { Configuration, KlingApi, MoneyApi, TasksApi } from "./openapi-generator/index.js";

declare const process: { env: Record<string, string> };

const configuration = new Configuration({ basePath: process.env.RELAY_URL, accessToken: process.env.RELAY_KEY });
const kling = new KlingApi(configuration);
const tasks = new TasksApi(configuration);

const order = { prompt: "a rabbit", duration: "10" as const };
const quoteRequest = { operation: "videos/text2video" as const, ...order };
const quote = await new MoneyApi(configuration).quote({ quoteRequest });
const ordered = (await kling.orderVideosText2video({ videosText2videoOrder: order })).data;
const detail = await tasks.showTask({ task: ordered.taskId, wait: 20 });
const shown = (await kling.showVideosText2video({ task: ordered.taskId })).data;
const listed = (await kling.listVideosText2video({ pageSize: 5 })).data;
const since = new Date("2026-01-01T00:00:00Z");
const found = (await tasks.listTasks({ since, status: ["succeed"] })).data;

console.log(
  JSON.stringify({
    quoted: quote.amount,
    task_id: ordered.taskId,
    created_at: ordered.createdAt,
    charged: detail.charge.charged,
    expires_at: detail.expiresAt,
    external_task_id: detail.externalTaskId,
    submission: detail.submission,
    task_status: shown.taskStatus,
    listed: listed[0].taskId,
    found: found[0].taskId,
  }),
);
