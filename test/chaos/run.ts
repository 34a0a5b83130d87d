// One after the other; both take --seconds and --seed.
await import("./random-requests");
await import("./kill-at-random");

export {};
