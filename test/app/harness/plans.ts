/** The prices that there are at Stripe; one a month in dollars unless it says otherwise. */
export interface StripePrice {
  readonly id: string;
  readonly currency?: string;
  readonly interval?: "month" | "year";
  readonly metered?: boolean;
  readonly lookupKey?: string;
}

export const seatPriceId = "price_seat";
export const teamPlan = { name: "Team", priceId: "price_team", seatPriceId };
export const businessPlan = {
  name: "business",
  priceId: "price_business",
  seatPriceId: "price_business_seat",
};
export const supportPlan = { name: "support", priceId: "price_support" };

export const prices: readonly StripePrice[] = [
  { id: seatPriceId },
  { id: teamPlan.priceId },
  { id: businessPlan.priceId, lookupKey: "business" },
  { id: businessPlan.seatPriceId },
  { id: supportPlan.priceId },
  { id: "price_base" },
  { id: "price_raised_seat" },
  { id: "price_metered", metered: true },
  { id: "price_year", interval: "year" },
  { id: "price_euro", currency: "eur" },
  ...Array.from({ length: 20 }, (_, index) => ({ id: `price_line_${index}` })),
];
