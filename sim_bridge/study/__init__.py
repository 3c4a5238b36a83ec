"""The study: many policies trained and evaluated alike, and the table, the plots and the report of what they did."""
