import type { Table } from "./rounds";

const nameWidth = 180;
const barWidth = 490;
const rowHeight = 20;

/** Draws each table as bars, as an SVG, with what they were measured on below. */
export function drawChart(tables: readonly Table[], footer: readonly string[]): string {
  const parts: string[] = [];
  let y = 0;
  for (const { title, figures } of tables) {
    parts.push(`<text y="${y + 24}" class="title">${title}</text>`);
    y += 2 * rowHeight;
    const most = Math.max(...figures.map(({ value }) => value));
    for (const [index, { name, value }] of figures.entries()) {
      const length = Math.max(1, Math.round((value / most) * barWidth));
      parts.push(
        `<g transform="translate(0 ${y})"${index === 0 ? ' class="own"' : ""}>`,
        `<text y="10">${name}</text>`,
        `<rect x="${nameWidth}" width="${length}" height="12"/>`,
        `<text x="${nameWidth + length + 8}" y="10">${format(value)} ns</text>`,
        "</g>",
      );
      y += rowHeight;
    }
  }
  for (const line of footer) parts.push(`<text y="${(y += rowHeight)}">${line}</text>`);

  const height = y + rowHeight / 2;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 ${height}" width="760" height="${height}" role="img">
<title>Benchmark of @kernia/events; shorter is better</title>
<style>
text { font: 13px system-ui, sans-serif; fill: #57606a; }
.title { font-weight: 600; }
rect { fill: #afb8c1; }
.own * { fill: #1a7f37; }
@media (prefers-color-scheme: dark) {
text { fill: #9da7b3; }
rect { fill: #545d68; }
.own * { fill: #3fb950; }
}
</style>
${parts.join("\n")}
</svg>
`;
}

export function format(value: number): string {
  return value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}
