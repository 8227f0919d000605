// A sample picture, drawn here: hills under a sun.

/** Return a JPEG file of 640 by 480 pixels. */
export function sample() {
  const canvas = document.createElement("canvas");
  canvas.width = 640;
  canvas.height = 480;
  const draw = canvas.getContext("2d");
  const sky = draw.createLinearGradient(0, 0, 0, 480);
  sky.addColorStop(0, "#20306b");
  sky.addColorStop(0.55, "#c86b5e");
  sky.addColorStop(0.8, "#f3c98b");
  draw.fillStyle = sky;
  draw.fillRect(0, 0, 640, 480);
  draw.fillStyle = "#ffeccb";
  draw.beginPath();
  draw.arc(430, 250, 46, 0, 7);
  draw.fill();
  [
    ["#7a4a6b", 300, 34, 90],
    ["#46345c", 350, 46, 130],
    ["#221f3d", 405, 30, 70],
  ].forEach(([colour, height, swing, length]) => {
    draw.fillStyle = colour;
    draw.beginPath();
    draw.moveTo(0, 480);
    for (let x = 0; x <= 640; x += 8) draw.lineTo(x, height + Math.sin(x / length) * swing + Math.sin(x / 37) * 9);
    draw.lineTo(640, 480);
    draw.fill();
  });
  return new Promise((resolve) => {
    canvas.toBlob((blob) => resolve(new File([blob], "hills.jpg", { type: "image/jpeg" })), "image/jpeg", 0.86);
  });
}
