import type { Engine } from "./engine";

export const prismaEngines: readonly Engine[] = [];
