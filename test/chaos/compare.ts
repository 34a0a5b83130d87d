import { owedFor, type Told } from "./judge";
import type { Transaction } from "../fixtures/decoded-changes";
export const expectedOf = (t: readonly Transaction[]) => owedFor(t);
export function compare(expected: readonly Told[], emitted: readonly (readonly [string, object])[]) {
  const key = (event: string, payload: object) => event.replace("organization.member.","") + " " + JSON.stringify(Object.entries(payload).sort());
  const count = (ks: string[]) => { const m = new Map<string, number>(); for (const k of ks) m.set(k, (m.get(k) ?? 0) + 1); return m; };
  const e = count(expected.map(({event,payload}) => key(event,payload))), g = count(emitted.map(([a,b]) => key(a,b)));
  const lost: string[] = [], doubled: string[] = [], wrong: string[] = [];
  for (const [k,n] of e) for (let i = g.get(k) ?? 0; i < n; i++) lost.push(k);
  for (const [k,n] of g) for (let i = e.get(k) ?? 0; i < n; i++) (e.has(k) ? doubled : wrong).push(k);
  return { expected: expected.length, emitted: emitted.length, lost, doubled, false: wrong };
}
