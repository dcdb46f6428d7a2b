-- +goose Up

-- What one user has retained, page by page.
DROP INDEX retained_user;
CREATE INDEX retained_user ON retained (user_id, id);
