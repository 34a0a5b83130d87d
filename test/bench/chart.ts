import type { Table } from "./measurements";

const width = 760;
const nameWidth = 180;
const valueWidth = 90;
const rowHeight = 20;
const barHeight = 12;
const titleHeight = 40;
const footerHeight = 17;

/** Draws each table as bars, as an SVG, with what they were measured on below. */
export function drawChart(tables: readonly Table[], footer: readonly string[]): string {
  const parts: string[] = [];
  let y = 0;
  for (const { title, unit, figures } of tables) {
    const most = Math.max(...figures.map(({ value }) => value));
    parts.push(text(0, y + 24, title, "title"));
    y += titleHeight;
    for (const { name, value } of figures) {
      const own = name === figures[0]!.name ? "own" : undefined;
      const length = (value / most) * (width - nameWidth - valueWidth);
      parts.push(text(0, y + barHeight - 2, name, own));
      parts.push(bar(nameWidth, y, Math.max(1, length), own));
      parts.push(text(nameWidth + length + 8, y + barHeight - 2, `${format(value)} ${unit}`, own));
      y += rowHeight;
    }
  }
  y += rowHeight;
  for (const line of footer) {
    parts.push(text(0, y, line, "footer"));
    y += footerHeight;
  }

  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" width="${width}" height="${y}" role="img">
<title>Benchmark of @kernia/events; shorter is better</title>
<style>
text { font: 13px system-ui, sans-serif; fill: #57606a; }
.title { font-weight: 600; }
.footer { font-size: 12px; }
rect { fill: #afb8c1; }
.own { fill: #1a7f37; }
@media (prefers-color-scheme: dark) {
text { fill: #9da7b3; }
rect { fill: #545d68; }
.own { fill: #3fb950; }
}
</style>
${parts.join("\n")}
</svg>
`;
}

function text(x: number, y: number, content: string, kind?: string): string {
  return `<text x="${Math.round(x)}" y="${y}"${classOf(kind)}>${escape(content)}</text>`;
}

function bar(x: number, y: number, length: number, kind?: string): string {
  const size = `width="${length.toFixed(1)}" height="${barHeight}"`;
  return `<rect x="${x}" y="${y}" ${size}${classOf(kind)}/>`;
}

function classOf(kind: string | undefined): string {
  return kind === undefined ? "" : ` class="${kind}"`;
}

function escape(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

export function format(value: number): string {
  return value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}
