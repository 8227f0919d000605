// What the fields of an order are called, and what they are for; a field that is not here shows its own name.
export const NAMES = {
  model_name: "Model", prompt: "Prompt", negative_prompt: "Negative prompt", image: "Picture", image_tail: "Last frame", aspect_ratio: "Proportions",
  duration: "Duration", mode: "Mode", n: "How many", cfg_scale: "Closeness to the prompt", image_fidelity: "Closeness to the picture",
  camera_control: "Camera control", notify_hook: "Callback address", external_task_id: "Your own task id",
};
export const HINTS = {
  negative_prompt: "What should not be seen.",
  image_tail: "The picture with which the video ends.",
  notify_hook: "Every step of this task is sent there, in Kling's own callback format.",
  external_task_id: "Unique to your key; the same order sent twice with it is charged once.",
};
export const MODES = { std: "Standard", pro: "Professional", "4k": "4K" };

/** Two orders of each kind to begin with; the first are the provider's own examples. */
export const EXAMPLES = {
  text2image: ["漫画兔子吃草", "A lighthouse in a storm, oil on canvas, low warm light"],
  image2image: ["The same hills in deep snow, at dawn", "As a woodcut in two colours"],
  text2video: ["太空飞船在航行", "A paper boat drifts down a rain-wet street, close to the water"],
  image2video: ["The clouds drift slowly, the light fades", "A flock of birds crosses the sky from left to right"],
};
