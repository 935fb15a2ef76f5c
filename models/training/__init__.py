"""Making a model: render, train, export, evaluate. Development only."""
