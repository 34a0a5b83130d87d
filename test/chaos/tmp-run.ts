import { withDeferred } from "../fixtures/deferred";
import { createDatabase, startEmbeddedPostgres } from "../fixtures/postgres";
import { runRandomRequests } from "./random-requests";
await withDeferred(async (defer) => {
  const { url } = await startEmbeddedPostgres(defer);
  for (const seed of [1, 2, 3]) console.log(await runRandomRequests(defer, await createDatabase(url, defer), { seconds: Number(process.argv[2] ?? 8), seed }));
});
