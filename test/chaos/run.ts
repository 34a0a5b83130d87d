// Both take --seconds and --seed.
await import("./random-requests");
await import("./kill-at-random");
