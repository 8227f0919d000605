// Names and hints of an order's fields. A field that is missing here shows its own name.
export const NAMES = {
  __proto__: null,
  model_name: "Model",
  prompt: "Prompt",
  negative_prompt: "Negative prompt",
  image: "Image",
  image_tail: "Last frame",
  aspect_ratio: "Aspect ratio",
  duration: "Duration",
  mode: "Mode",
  n: "Number of images",
  cfg_scale: "Prompt guidance",
  image_fidelity: "Image fidelity",
  camera_control: "Camera control",
  notify_hook: "Callback URL",
  external_task_id: "Your task ID",
};
export const HINTS = {
  __proto__: null,
  negative_prompt: "What to avoid.",
  image_tail: "The last frame of the video.",
  notify_hook: "Receives every change of this task in Kling's callback format.",
  external_task_id: "Unique per client. Sending the same order twice with it charges you once.",
};
export const MODES = { __proto__: null, std: "Standard", pro: "Professional", "4k": "4K" };

/** Two example prompts for each kind; the first ones are the provider's own. */
export const EXAMPLES = {
  text2image: ["漫画兔子吃草", "A lighthouse in a storm, oil on canvas, low warm light"],
  image2image: ["The same hills in deep snow, at dawn", "As a woodcut in two colours"],
  text2video: ["太空飞船在航行", "A paper boat drifts down a rain-wet street, close to the water"],
  image2video: ["The clouds drift slowly, the light fades", "A flock of birds crosses the sky from left to right"],
};
