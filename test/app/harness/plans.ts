export const seatPriceId = "price_seat";
export const teamPlan = { name: "Team", seatPriceId };
