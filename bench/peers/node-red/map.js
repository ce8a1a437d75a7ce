const o = msg.payload, to = o.shipping_address;
const by = new Date(o.created_at);
by.setUTCDate(by.getUTCDate() + 2);
msg.payload = {
  reference: o.name,
  recipient: `${to.first_name || ""} ${to.last_name || ""}`,
  street: to.address1,
  city: to.city.toUpperCase(),
  postal_code: to.zip,
  country: to.country_code,
  email: o.email,
  currency: o.currency,
  total: Number(o.total_price),
  tax: Number(o.total_tax),
  ship_by: by.toISOString().slice(0, 10),
  is_paid: o.financial_status === "paid",
  parcels: o.line_items.map((i) => ({ sku: i.sku, pieces: i.quantity, value: Number(i.price) * i.quantity })),
};
