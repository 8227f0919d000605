// 中文:字段、状态、提示与错误。
export const tables = {
  // 状态与种类
  Submitted: "已提交", Processing: "生成中", Succeeded: "成功", Failed: "失败", Done: "完成", Active: "启用", Paused: "已暂停",
  Disabled: "已停用", Pending: "待投递", Delivered: "已送达", Exhausted: "已放弃", All: "全部", Failing: "持续失败",
  "Text to image": "文生图", "Image to image": "图生图", "Text to video": "文生视频", "Image to video": "图生视频",
  // 订单字段
  Prompt: "提示词", "Negative prompt": "反向提示词", Picture: "参考图片", "Last frame": "尾帧图片", Proportions: "画面比例", Duration: "时长",
  Mode: "模式", "How many": "数量", "Closeness to the prompt": "与提示词的贴合度", "Closeness to the picture": "与参考图的贴合度",
  "Camera control": "运镜控制", "Callback address": "回调地址", "Your own task id": "自定义任务 ID",
  "What should not be seen.": "不希望出现的内容。", "The picture with which the video ends.": "视频结尾的画面。",
  "Every step of this task is sent there, in Kling's own callback format.": "任务的每一步都会以可灵的回调格式发送到这里。",
  "Unique to your key; the same order sent twice with it is charged once.": "在您的密钥下唯一；带着它重复提交同一订单只计费一次。",
  Standard: "标准", Professional: "高品质", mode: "模式", duration: "时长",
  "A lighthouse in a storm, oil on canvas, low warm light": "暴风雨中的灯塔，布面油画，低垂的暖光",
  "The same hills in deep snow, at dawn": "同样的山丘，黎明，积雪深厚", "As a woodcut in two colours": "双色木刻版画风格",
  "A paper boat drifts down a rain-wet street, close to the water": "纸船沿着雨后的街道漂流，贴近水面",
  "The clouds drift slowly, the light fades": "云缓缓飘过，光线渐暗", "A flock of birds crosses the sky from left to right": "一群鸟从左向右飞过天空",
  // 运镜
  Simple: "简单运镜", "Down and back": "下移拉远", "Forward and up": "推进上移", "Turn right, forward": "右旋推进", "Turn left, forward": "左旋推进",
  "one movement of your choice": "六选一", "the camera sinks and draws back": "镜头下压并后退", "the camera comes nearer and rises": "镜头前进并上仰",
  "it turns right, then comes nearer": "先右旋转后前进", "it turns left, then comes nearer": "先左旋转后前进",
  Horizontal: "水平运镜", Vertical: "垂直运镜", Pan: "水平摇镜", Tilt: "垂直摇镜", Roll: "旋转运镜", Zoom: "变焦",
  // 任务详情
  Took: "用时", "Last step": "最近一步", "Task id": "任务 ID", "Your id": "自定义 ID", Provider: "供应商", "Its id there": "供应商的 ID", Trace: "追踪",
  "Waits for its turn to be sent": "排队等待发送", "Is being sent to the provider": "正在发送给供应商", "The provider has it": "供应商已接收",
  "The provider's answer was lost; what became of it is being found out, and it is not sent again": "供应商的应答丢失；正在查明结果，不会重复发送",
  "reserved until the task ends": "预留至任务结束", "reserved: nobody knows yet whether the provider took it": "预留中：尚不清楚供应商是否已接收", charged: "已扣费", "released: failed tasks cost nothing": "已退回：失败的任务不收费", unit: "点", units: "点",
  "The provider called back": "供应商回调", "We asked the provider": "主动查询供应商", "The provider answered the order": "供应商对订单的应答", "The clock": "时钟",
  "it moved the task": "推动了任务", "nothing new: recorded, and nothing changed": "没有新内容：已记录，未改变任务",
  "unreadable: recorded, and the provider will be asked": "无法解读：已记录，将主动查询供应商", "unlikely: recorded, and the provider will be asked": "存疑：已记录，将主动查询供应商",
  "without a good signature: recorded, not believed": "签名无效：已记录，不予采信",
  "The provider took the order": "供应商接受了订单", "The provider works on it": "供应商正在生成",
  // 投递
  delivered: "已送达", "failed, tried again later": "失败，稍后重试", "failed for the last time": "最后一次失败", "said 410: the subscription is disabled": "返回 410：订阅已停用",
  "the provider took the order": "供应商接受了订单", "the provider works on it": "供应商正在生成", "it is done, with its results": "已完成，附结果", "it failed, with the reason": "失败，附原因",
  "one of your addresses is no longer told": "您的某个地址不再收到通知", "a budget is nearly used up": "预算即将用完",
  "{type, timestamp, data}: the form of Standard Webhooks.": "{type, timestamp, data}:Standard Webhooks 的格式。", "Kling's own flat callback body.": "可灵自己的扁平回调格式。",
  "CloudEvents 1.0, structured.": "CloudEvents 1.0，结构化模式。",
  "The last hour": "最近一小时", "The last week": "最近一周", "The last month": "最近一月", "Between…": "自定义…",
  "What failed": "失败的", "At once": "立即", "In an hour": "一小时后", "In a day": "一天后", "In a week": "一周后",
  // 总览
  "Not final": "未结束", "Half within": "半数用时", "95% within": "95% 用时", "Not delivered": "未送达", "Tasks in progress": "进行中的任务", "Pending deliveries": "待投递",
  "no answer in time": "超时未应答", "nobody listens there": "拒绝连接", "the name is unknown": "域名无法解析", "the certificate is not good": "证书无效",
  "the connection broke": "连接中断", "the address is not allowed": "地址不被允许", "no way there": "无法到达", "no HTTP was spoken": "不是 HTTP 应答",
  // 用量
  number: "数量",
  today: "今日", "this month": "本月", "in all": "总计", "reserved at once": "同时预留",
  // 框架
  "Not connected": "未连接", Connecting: "连接中", Live: "实时", Reconnecting: "重新连接中", "The key is refused": "密钥被拒绝",
  "As the system": "跟随系统", Light: "浅色", Dark: "深色",
  // 错误
  "Check that the service runs, and its address in the settings.": "请确认服务正在运行，并检查设置中的地址。",
  "Open the settings and enter a key. `kling-relay keys create NAME` makes one.": "请在设置中填写密钥。可用 `kling-relay keys create 名称` 创建。",
  "Raise the budget, or wait for its next day or month. Nothing was sent.": "请提高预算，或等待下一天或下个月。订单没有发出。",
  "Use a key with the scope that this needs.": "请使用具有相应权限的密钥。", "It may have been deleted, or belong to another client.": "它可能已被删除，或属于其他客户。",
  "Use another external task id, or send the same order.": "请换一个自定义任务 ID，或发送同样的订单。", "Wait {seconds} s and try again.": "请等待 {seconds} 秒后重试。",
  "The provider said this, not the service. The task's page shows what is known.": "这是供应商的答复。已知情况见任务页面。",
  "Try again in a moment; if it stays, look at the service's log.": "请稍后重试；如仍然出现，请查看服务日志。",
  "The service at {address} does not answer.": "{address} 上的服务没有应答。", "The service answered {status}.": "服务返回了 {status}。",
};
