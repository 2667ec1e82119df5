-- Which database this is: the bytes beside it say to whom they belong.

CREATE TABLE identity (id TEXT NOT NULL);
INSERT INTO identity (id) VALUES (lower(hex(randomblob(16))));
